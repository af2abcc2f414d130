"""The candidates that completion offers, tested through the command and in the shells themselves."""

import json
import os
import pty
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from ebm_cli import __main__
from ebm_cli.config import compose, option_files

SHELLS = ("bash", "zsh", "fish")
CONFIG = {
    "draws": {"n_samples": 100, "n_chains": 10, "n_steps": 5},
    "sampler": {"_target_": "x", "step_size": 0.01, "n_leaps": 3},
    "metric": {"quadrature": {"_target_": "y", "tolerance": 0.1}},
    "dataset": {"_target_": "z"},
}


@pytest.fixture
def offered(ebm):
    """`offered(line)` returns the candidates that TAB offers at the end of a line, in order."""

    def call(line, *tail):
        code, out, err = ebm("completion", "--line", line, *tail)
        assert (code, err) == (0, "")
        return [candidate.partition("\t")[0] for candidate in out.splitlines()]

    return call


@pytest.fixture
def runs(tmp_path):
    """Three runs. The second one by name is the newest."""
    for name, created in (("moons-nce-s0-aa00000000", 1.0), ("moons-pcd-s0-ab00000000", 3.0), ("moons-ssm-s0-b000000000", 2.0)):
        folder = tmp_path / "outputs" / "runs" / name
        folder.mkdir(parents=True)
        (folder / "environment.json").write_text(json.dumps({"created": created, "group": "mine" if "nce" in name else None}))
        (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG, sort_keys=False))
    (folder / "summary.json").write_text(json.dumps({"kl": 0.1, "units": {"kl": "nats", "nll": "nats"}}))


@pytest.fixture
def mine(tmp_path):
    """A folder with an objective, a launcher and a sweeper of the user's own."""
    for name, text in {
        "objective/tiny": "# Something small\nn_grains: 1  # of sand\n",
        "hydra/launcher/mill": "",
        "hydra/sweeper/broom": "bristles: 3\n",
    }.items():
        (tmp_path / "mine" / name).parent.mkdir(parents=True)
        (tmp_path / "mine" / f"{name}.yaml").write_text(text)
    return tmp_path / "mine"


@pytest.fixture
def here():
    """Files and folders in the working directory."""
    Path("points.csv").touch()
    Path(".hidden").touch()
    Path("two words").mkdir()
    Path("two words", "it's.csv").touch()


EXACTLY = [
    ("ebm tr", "train"),
    ("ebm --", "--help --version"),
    ("/somewhere/ebm tr", "train"),
    ("ebm completion ", "bash zsh fish"),
    ("ebm runs -", "--json --reverse --sort --group --help"),
    ("ebm runs ", ""),
    ("ebm runs --sort k", "kl"),
    ("ebm runs --group ", "mine"),
    ("ebm list objectiv", "objective"),
    ("ebm list --config-", "--config-dir"),
    ("ebm list --config-dir . objectiv", "objective"),
    ("ebm train --mul", "--multirun"),
    ("ebm train --cfg ", "job"),
    ("ebm train -c ", "job"),
    ("ebm train --cfg=", "--cfg=job"),
    ("ebm train optimizer=", "optimizer=adam optimizer=adamw optimizer=adamw_small optimizer=sgd"),
    ("ebm train seed=1 optimizer=s", "optimizer=sgd"),
    ("ebm train -m optimizer=sgd,", "optimizer=sgd,adam optimizer=sgd,adamw optimizer=sgd,adamw_small"),
    ("ebm train -m objective=ssm,n", "objective=ssm,nce"),
    ("ebm train metric=[sl", "metric=[sliced_wasserstein] metric=[sliced_wasserstein,"),
    ("ebm train metric=[quadrature,sl", "metric=[quadrature,sliced_wasserstein] metric=[quadrature,sliced_wasserstein,"),
    ("ebm train 'metric=[quadrature,sl", "metric=[quadrature,sliced_wasserstein] metric=[quadrature,sliced_wasserstein,"),
    ("ebm train trainer.n_", "trainer.n_steps= trainer.n_snapshots="),
    ("ebm train trainer.n_st", "trainer.n_steps="),
    ("ebm train trainer.compile=", "trainer.compile=true trainer.compile=false"),
    ("ebm train device=c", "device=cpu device=cuda device=cuda:1"),
    ("ebm train objective.dir", "objective.directions="),
    ("ebm train objective=pcd objective.n_", "objective.n_steps= objective.n_chains="),
    ("ebm train objective=pcd regularizer.", "regularizer.energy_l2."),
    ("ebm train objective=nce,pcd objective.n_", "objective.n_noise= objective.n_steps= objective.n_chains="),
    ("ebm train objective.directions=s", "objective.directions=sphere"),
    ("ebm train seed=", ""),
    ("ebm train force=", "force=true force=false"),
    ("ebm train sweep.direction=", "sweep.direction=min sweep.direction=max"),
    ("ebm train energy=mlp energy.activation=s", "energy.activation=silu energy.activation=softplus"),
    ("ebm train reference=m", "reference=mixture"),
    ("ebm train reference=mixture reference.", "reference.n_components= reference.shrinkage= reference.bound="),
    ("ebm train figure=[de", "figure=[density] figure=[density,"),
    ("ebm train dataset=table dataset.columns=", ""),
    ("ebm train hydra/", ""),
    ("ebm sample ", "last ab00000000 b000000000 aa00000000 energy="),
    ("ebm sample e", "energy="),
    ("ebm sample energy=four", "energy=four_wells"),
    ("ebm sample energy=m", ""),
    ("ebm sample energy=four_wells n_", "n_samples= n_chains= n_steps="),
    ("ebm sample energy=four_wells energy.", "energy.dim= energy.temperature="),
    ("ebm sample energy=exact dataset.no", "dataset.noise="),
    ("ebm sample energy=b", "energy=banana"),
    ("ebm sample energy=banana energy.", "energy.dataset."),
    ("ebm sample energy=banana energy.dataset.b", "energy.dataset.bend="),
    ("ebm sample energy=compose energy.how=m", "energy.how=mixture"),
    ("ebm sample energy=four_wells sampler=langevin sampler.", "sampler.step_size= sampler.max_score_norm="),
    ("ebm sample last energ", ""),
    ("ebm rm a", "ab00000000 aa00000000"),
    ("ebm compare ", "last ab00000000 b000000000 aa00000000 mine"),
    ("ebm compare last mi", "mine"),
    ("ebm compare last --b", "--budget"),
    ("ebm compare last --budget n_s", "n_steps= n_score_evaluations="),
    ("ebm compare last mine --metric k", "kl"),
    ("ebm rm aa00000000 b000000000 l", "last"),
    ("ebm show moons-s", "moons-ssm-s0-b000000000"),
    ("ebm show last ", ""),
    ("ebm show last --j", "--json"),
    ("ebm rm --yes l", "last"),
    ("ebm sample n_s", ""),
    ("ebm sample last n_", "n_samples= n_chains= n_steps="),
    ("ebm sample last sampler=l", "sampler=langevin"),
    ("ebm sample last --con", "--config-dir"),
    ("ebm sample --config-dir ", "two words/"),
    ("ebm sample last sampler.", "sampler.step_size= sampler.n_leaps="),
    ("ebm sample last sampler=langevin sampler.", "sampler.step_size= sampler.max_score_norm="),
    ("ebm evaluate last metric.quadrature.", "metric.quadrature.tolerance="),
    ("ebm evaluate last metric=sliced_wasserstein metric.s", "metric.sliced_wasserstein."),
    ("ebm evaluate last n_", "n_samples= n_chains= n_steps="),
    ("ebm plot last figure=", " ".join(f"figure={name}" for name in sorted(option_files.groups()["figure"]))),
    ("ebm plot last figure=[density,fi", "figure=[density,filters] figure=[density,filters,"),
    ("ebm animate last figure=", "figure=training figure=sampling"),
    ("ebm animate last n_", "n_frames= n_chains= n_steps="),
    ("ebm animate energy=fo", "energy=four_wells"),
    ("ebm animate energy=four_wells sampler=langevin sampler.", "sampler.step_size= sampler.max_score_norm="),
    ("ebm animate last out=two\\ words/", "out=two words/it's.csv"),
    ("ebm plot last --con", "--config-dir"),
    ("ebm plot last --config-dir ", "two words/"),
    ("ebm evaluate --config-dir=", "--config-dir=two words/"),
    ("ebm plot last dataset.", "dataset.path="),
    ("ebm score last ", "data= header= out= prefix= relative_to= quantile= score_norm= features= model= device= dataset."),
    ("ebm score last data=", "data=points.csv|data=two words/"),
    ("ebm score last out='two words/", "out=two words/it's.csv"),
    ("ebm train dataset.path=p", "dataset.path=points.csv"),
    ("ebm train dataset.path=./.h", "dataset.path=./.hidden"),
    ("ebm train --config-dir ", "two words/"),
    ("ebm train -cd ", "two words/"),
    ("ebm train --config-dir=", "--config-dir=two words/"),
    ("ebm doctor --j", "--json"),
]


@pytest.mark.parametrize(("line", "expected"), EXACTLY, ids=[line for line, _ in EXACTLY])
def test_the_candidates_of_a_line(offered, runs, here, line, expected):
    assert offered(line) == expected.split("|" if "two words" in expected else None)


def test_every_verb_and_its_help_are_offered(offered):
    assert offered("ebm ") == sorted(__main__.COMMANDS)
    for verb in __main__.COMMANDS:
        assert "--help" in offered(f"ebm {verb} --h")


def test_options_from_a_folder_of_options(offered, mine):
    for line in (f"ebm train --config-dir {mine}", f"ebm train -cd {mine}", f"ebm train --config-dir={mine}"):
        assert offered(f"{line} objective=t") == ["objective=tiny"]
        assert offered(f"{line} objective=tiny objective.") == ["objective.n_grains="]
        assert offered(f"{line} hydra/") == []
        assert {*offered(f"{line} -m hydra/")} >= {"hydra/launcher=", "hydra/sweeper="}
        assert offered(f"{line} -m hydra.launcher.")  # keys of the default launcher
        ours = {f"hydra/launcher={path.stem}" for path in option_files.conf_dir().glob("hydra/launcher/*.yaml")}
        assert {*offered(f"{line} -m hydra/launcher=")} == ours | {"hydra/launcher=mill"}
        assert offered(f"{line} -m hydra/launcher=mi") == ["hydra/launcher=mill"]
        assert offered(f"{line} -m hydra/sweeper=broom hydra.sweeper.b") == ["hydra.sweeper.bristles="]


def test_figures_metrics_and_samplers_from_a_folder_of_options(offered, runs, mine):
    for name in ("figure/steps", "metric/coarse", "sampler/slow"):
        (mine / name).parent.mkdir()
        (mine / f"{name}.yaml").write_text("# Mine\n# Me\nmargin: 1.0\n")
    for flag in (f"--config-dir {mine}", f"-cd {mine}", f"--config-dir={mine}"):
        assert offered(f"ebm plot last {flag} figure=st") == ["figure=steps"]
        assert offered(f"ebm plot {flag} last figure=[density,st") == ["figure=[density,steps]", "figure=[density,steps,"]
        assert offered(f"ebm evaluate last {flag} metric=co") == ["metric=coarse"]
        assert offered(f"ebm evaluate last {flag} sampler=sl") == offered(f"ebm sample last {flag} sampler=sl") == ["sampler=slow"]
        assert offered(f"ebm sample {flag} energy=four_wells sampler=sl") == ["sampler=slow"]
        assert offered(f"ebm evaluate last {flag} sampler=slow sampler.m") == ["sampler.margin="]
    assert offered("ebm plot last figure=st") == offered("ebm evaluate last metric=co") == []


def keys(config, place=""):
    for key, value in config.items():
        if isinstance(value, dict):
            yield from keys(value, f"{place}{key}.")
        elif key != "_target_":
            yield f"{place}{key}"


LINES = (
    "",
    "objective=pcd",
    "objective=pcd regularizer=[]",
    "energy=score_mlp",
    "optimizer=sgd regularizer=energy_l2",
    "metric=[]",
    "experiment=smoke sampler=langevin",
)


@pytest.mark.parametrize("line", LINES)
def test_the_keys_offered_are_those_of_the_composed_config(offered, line):
    def walk(word):
        for candidate in offered(f"ebm train {line} {word}"):
            yield from walk(candidate) if candidate.endswith(".") else [candidate.removesuffix("=")]

    composed = compose.compose(line.split()).config
    interpolated = {"objective.sampler"} if "pcd" in line else set()  # its keys are set under sampler, as in sampler.step_size
    expected = {key for key in keys(composed) if not key.startswith("objective.sampler.")} - interpolated - {"experiment"}
    assert {key for key in walk("") if key not in option_files.groups()} == expected - {*option_files.groups()}


@pytest.mark.parametrize("group", option_files.groups())
def test_every_option_offered_composes(offered, group):
    options = offered(f"ebm train {group}=")
    assert options == [f"{group}={name}" for name in option_files.groups()[group]]
    for option in options:
        assert not compose.compose([option]).problems


@pytest.mark.parametrize(
    "line",
    ["", "ebm", "ebm nonsense x", "ebm train a=b=", "ebm train --x=", "ebm train seed.x.y", "ebm train '\"", "ebm show ../x/"],
)
def test_a_line_without_candidates_prints_nothing(offered, line):
    assert offered(line) == []


def test_damaged_files_print_no_errors(offered, runs, mine, tmp_path):
    (mine / "objective" / "tiny.yaml").write_text("a: [\n")
    assert offered(f"ebm train --config-dir {mine} objective=tiny objective.") == []
    for file in ("environment.json", "config.yaml"):
        (tmp_path / "outputs" / "runs" / "moons-pcd-s0-ab00000000" / file).write_text("{")
    assert offered("ebm sample ab00000000 sampler.") == []
    assert "ab00000000" in offered("ebm sample ")
    assert offered("ebm show gone/") == []


def test_bash_receives_only_the_part_that_it_replaces(offered, here):
    """Readline replaces the part after the last word break. It passes this part without quotes but with its backslashes."""
    assert offered("ebm train objective=ss", "ss") == ["ssm"]
    assert offered("ebm train device=cuda:", "") == ["1"]
    ends = [f"metric=[quadrature,sliced_wasserstein{end}" for end in ("]", ",")]
    assert offered("ebm train 'metric=[quadrature,sl", "metric=[quadrature,sl") == ends
    assert offered("ebm score last data=tw", "tw") == ["two\\ words/"]
    assert offered("ebm score last data=two\\ w", "two\\ w") == ["two\\ words/"]
    assert offered("ebm score last data=two\\ words/", "two\\ words/") == ["two\\ words/it\\'s.csv"]
    assert offered("ebm score last data='two w", "two w") == ["two words/"]


@pytest.mark.parametrize("words", [[], ["bash", "zsh"], ["tcsh"], ["--lines"]])
def test_the_name_of_a_known_shell_is_needed(ebm, words):
    code, out, err = ebm("completion", *words)
    assert (code, out) == (2, "")
    assert "bash" in err


def test_cpu_seconds_and_imports(tmp_path, runs):
    """The most expensive line takes at most half of the time to import torch."""
    line = "ebm train -m objective=pcd,nce metric=[quadrature] objective."
    least = float("inf")
    for _ in range(4):
        process = subprocess.Popen([sys.executable, "-m", "ebm_cli", "completion", "--line", line], stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        assert status == 0
        least = min(least, usage.ru_utime + usage.ru_stime)
    assert least < 0.4
    for verb in __main__.COMMANDS:
        code = f"""
import sys
from ebm_cli.__main__ import main
main(["completion", "--line", "ebm {verb} last "])
sys.exit(bool({{"torch", "hydra", "omegaconf"}} & {{*sys.modules}}))"""
        assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0, verb


# (the line typed, the line after TAB)
TABS = [
    ("ebm tra", "ebm train "),
    ("ebm train obj", "ebm train objective"),
    ("ebm train objective=ss", "ebm train objective=ssm "),
    ("ebm train -m objective=ssm,n", "ebm train -m objective=ssm,nce "),
    ("ebm train 'regularizer=[energy_l1,gr", "ebm train 'regularizer=[energy_l1,gradient_penalty"),
    ("ebm train trainer.n_st", "ebm train trainer.n_steps="),
    ("ebm train device=cuda:", "ebm train device=cuda:1 "),
    ("ebm train trai", "ebm train trainer."),
    ("ebm show l", "ebm show last "),
    ("ebm show b", "ebm show b000000000 "),
    ("ebm score last data=tw", r"ebm score last data=two\ words/"),
    (r"ebm score last data=two\ words/", r"ebm score last data=two\ words/it\'s.csv "),
    ('ebm score last "data=two words/', """ebm score last "data=two words/it's.csv" """),
    ("ebm train --config-dir tw", r"ebm train --config-dir two\ words/"),
    ("true; ebm doctor --j", "true; ebm doctor --json "),
    ("ebm nonsense x", "ebm nonsense x"),
]
UNQUOTED = [
    ("ebm train regularizer=[energy_l1,gr", "ebm train regularizer=[energy_l1,gradient_penalty")
]  # zsh reads an unquoted [ as a subscript
START = {
    "bash": (
        ["--noprofile", "--rcfile", "setup", "-i"],
        """bind -x '"\\C-t": printf "%s|" "$READLINE_LINE" > line'; PS1='$ '""",
    ),
    "zsh": (["-d", "-i"], """show() { print -rn -- "$BUFFER|" > line }; zle -N show; bindkey -e; bindkey '^T' show; PS1='$ '"""),
}


def path_with(folder):
    """The PATH with a folder put before all others."""
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


class Terminal:
    """An interactive shell with our completion, in a pseudo-terminal."""

    def __init__(self, shell):
        arguments, setup = START[shell]
        Path("setup").write_text(f'eval "$(ebm completion {shell})"\n{setup}\n')
        shutil.copy("setup", ".zshrc")
        path = path_with(Path(sys.executable).parent)
        environment = os.environ | {"PATH": path, "HOME": os.getcwd(), "ZDOTDIR": os.getcwd(), "TERM": "dumb"}
        self.pid, self.terminal = pty.fork()
        if not self.pid:
            os.execvpe(shell, [shell, *arguments], environment)
        os.set_blocking(self.terminal, False)

    def press_tab(self, typed):
        """The command line of the shell after TAB. Ctrl-T makes the shell write it to a file."""
        Path("line").unlink(missing_ok=True)
        os.write(self.terminal, f"\x05\x15{typed}\t\x14".encode())
        for _ in range(600):
            time.sleep(0.05)
            with suppress(BlockingIOError):
                os.read(self.terminal, 1 << 16)  # otherwise the shell blocks when its output is not read
            with suppress(FileNotFoundError):
                if (line := Path("line").read_text()).endswith("|"):
                    return line[:-1]
        raise TimeoutError(typed)

    def close(self):
        os.close(self.terminal)  # this sends SIGHUP to the shell
        os.waitpid(self.pid, 0)


def needs(shell):
    return pytest.param(shell, marks=pytest.mark.skipif(not shutil.which(shell), reason=f"{shell} is not installed"))


@pytest.mark.parametrize("shell", [needs("bash"), needs("zsh")])
def test_tab_in_an_interactive_shell(shell, runs, here):
    terminal = Terminal(shell)
    try:
        for typed, expected in [*TABS, *(UNQUOTED if shell == "bash" else ())]:
            assert terminal.press_tab(typed) == expected
    finally:
        terminal.close()


@pytest.mark.parametrize("shell", [needs("fish")])
def test_fish_offers_the_same(shell, runs, here, offered):
    environment = os.environ | {"PATH": path_with(Path(sys.executable).parent), "HOME": os.getcwd()}
    script = "ebm completion fish | source; for line in $argv; complete -C $line; echo; end"
    lines = [
        "ebm tra",
        "ebm train objective=",
        "ebm train metric=[quadrature,s",
        "ebm show ",
        r"ebm score last data=two\ ",
        "true; ebm lis",
    ]
    answer = subprocess.run([shell, "--no-config", "-c", script, *lines], env=environment, capture_output=True, text=True)
    found = [[candidate.partition("\t")[0] for candidate in part.splitlines()] for part in answer.stdout.split("\n\n")[: len(lines)]]
    assert answer.stderr == ""
    assert found == [offered(line.removeprefix("true; ")) for line in lines]


@pytest.mark.parametrize("shell", [needs(shell) for shell in SHELLS])
def test_a_command_that_fails_prints_nothing(shell, tmp_path):
    """The script of a version that no longer works leaves the prompt clean."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ebm").write_text("#!/bin/sh\necho broken >&2\nexit 1\n")
    (tmp_path / "bin" / "ebm").chmod(0o755)
    script = subprocess.run([sys.executable, "-m", "ebm_cli", "completion", shell], capture_output=True, text=True).stdout
    ask = {
        "bash": "COMP_LINE='ebm tra' COMP_POINT=7; _ebm ebm tra ebm; echo ${#COMPREPLY[@]}",
        "zsh": "integer offered=0; compadd() { offered+=${#whole} }; words=(ebm tra) CURRENT=2 PREFIX=tra; _ebm; echo $offered",
        "fish": "count (complete -C 'ebm tra'); true",
    }[shell]
    environment = os.environ | {"PATH": path_with(tmp_path / "bin"), "HOME": os.getcwd()}
    bare = {"bash": ["--noprofile", "--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    answer = subprocess.run([shell, *bare, "-c", f"{script}\n{ask}"], env=environment, capture_output=True, text=True)
    assert (answer.stdout.strip(), answer.stderr) == ("0", "")
