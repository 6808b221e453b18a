#!/usr/bin/env python3
"""Runs what other people's CI runs of this project, as they run it.

- the GitHub action: every step of action.yml, with the variables that GitHub sets;
- the pre-commit hook: by pre-commit itself, from this checkout's last commit;
- SARIF: the report of every broken program of the tests, against the schema of SARIF 2.1.0.

Usage: ci_steps.py CHECKOUT FOLDER_OF_THE_COMMAND SCHEMA
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import jsonschema
import yaml

BROKEN = "policy p\n"
GOOD = "policy p for all pods in namespace shop {\n  isolate ingress\n}\n"


def run(command, expected=0, **options):
    ran = subprocess.run(command, capture_output=True, text=True, **options)
    if ran.returncode != expected:
        sys.exit(f"{command} exits with {ran.returncode}, not {expected}\n{ran.stdout}\n{ran.stderr}")
    return ran.stdout + ran.stderr


def action(checkout):
    steps = yaml.safe_load((checkout / "action.yml").read_text())["runs"]["steps"]
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        (place / "bad.np").write_text(BROKEN)
        (place / "good.np").write_text(GOOD)
        for files, expected, says in [("good.np", 0, ""), ("bad.np", 1, "::error file=bad.np,line=1")]:
            environment = os.environ | {"GITHUB_ACTION_PATH": str(checkout), "FILES": files, "ARGUMENTS": ""}
            environment.pop("CARGO_TARGET_DIR", None)
            for step in steps:
                last = step is steps[-1]
                shell = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", step["run"]]
                printed = run(shell, expected if last else 0, cwd=place, env=environment)
                if last and says not in printed:
                    sys.exit(f"the action says\n{printed}\nand not {says}")
    print(f"ci_steps: the action, {len(steps)} steps, 2 runs")


def hook(checkout, commands):
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        environment = os.environ | {
            "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
            "PRE_COMMIT_HOME": str(place / "cache"),
        }
        for name in [name for name in environment if name.startswith("GIT_")]:
            environment.pop(name)
        repository = place / "repository"
        repository.mkdir()
        git = lambda *arguments: run(["git", *arguments], cwd=repository, env=environment)
        git("init", "--quiet")
        revision = run(["git", "-C", str(checkout), "rev-parse", "HEAD"]).strip()
        config = {"repos": [{"repo": str(checkout), "rev": revision, "hooks": [{"id": "npc-fmt"}, {"id": "npc-check"}]}]}
        (repository / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))
        (repository / "policies.np").write_text(GOOD)
        (repository / "notes.txt").write_text("no program\n")
        git("add", ".")
        pre_commit = [sys.executable, "-m", "pre_commit", "run", "--all-files"]
        # What is in another style is written in the one, and told.
        (repository / "policies.np").write_text(GOOD.replace("\n", " "))
        git("add", ".")
        printed = run(pre_commit, expected=1, cwd=repository, env=environment)
        written = (repository / "policies.np").read_text()
        if "files were modified by this hook" not in printed or written != GOOD:
            sys.exit(f"the hook says\n{printed}\nof\n{written}")
        git("add", ".")
        run(pre_commit, cwd=repository, env=environment)
        (repository / "policies.np").write_text(BROKEN)
        git("add", ".")
        printed = run(pre_commit, expected=1, cwd=repository, env=environment)
        if "policies.np:1:9: error[NP0101]" not in printed:
            sys.exit(f"the hook says\n{printed}")
    print("ci_steps: the hook, by pre-commit, 3 runs")


def sarif(checkout, commands, schema):
    validator = jsonschema.Draft7Validator(json.loads(schema.read_text()))
    programs = sorted((checkout / "tests/broken").rglob("*.np"))
    results = 0
    for program in programs:
        ran = subprocess.run(
            [commands / "npc", "check", "--format", "sarif", program], capture_output=True, text=True
        )
        report = json.loads(ran.stdout)
        errors = [error.message for error in validator.iter_errors(report)]
        if errors:
            sys.exit(f"{program}: {errors}")
        results += sum(len(one["results"]) for one in report["runs"])
    assert results >= len(programs) - 20, (results, len(programs))
    print(f"ci_steps: SARIF of {len(programs)} programs, {results} results, valid against its schema")


def main():
    checkout, commands, schema = (pathlib.Path(path).resolve() for path in sys.argv[1:])
    action(checkout)
    hook(checkout, commands)
    sarif(checkout, commands, schema)


main()
