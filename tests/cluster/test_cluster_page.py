"""What docs/cluster.md gives to copy can be read by what it is for; nothing here runs it."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from autoif.cli import _parser

PAGE = Path(__file__).parents[2] / "docs" / "cluster.md"


def fence(name: str) -> str:
    text = PAGE.read_text("utf-8")
    return re.findall(rf"^```\w+ file={re.escape(name)}\n(.*?)^```$", text, re.M | re.S)[0]


def commands(text: str) -> list[list[str]]:
    """The `autoif synth` in it."""
    joined = " ".join(text.replace("\\\n", " ").split())
    found = re.findall(r"autoif (synth .*?postgresql://\S+)", joined)
    return [shlex.split(command) for command in found]


def test_the_job_of_slurm_is_a_script_that_starts_ray_and_a_run() -> None:
    script = fence("autoif.sbatch")
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    assert script.index("ray start --block --head") < script.index("ray start --block --address")
    (command,) = commands(script)
    assert _parser().parse_args(command).cluster == "ray:$head:6379"


def test_the_manifest_of_kuberay_is_a_job_with_a_head_that_only_drives() -> None:
    yaml: Any = pytest.importorskip("yaml", reason="PyYAML comes with Ray")
    job = yaml.safe_load(fence("autoif-rayjob.yaml"))
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    (command,) = commands(job["spec"]["entrypoint"])
    assert _parser().parse_args(command).cluster == "ray"
    cluster = job["spec"]["rayClusterSpec"]
    head = cluster["headGroupSpec"]
    assert head["rayStartParams"]["num-cpus"] == "0"
    groups = [head, *cluster["workerGroupSpecs"]]
    pods = [group["template"]["spec"] for group in groups]
    images = {container["image"] for pod in pods for container in pod["containers"]}
    assert len(images) == 1  # the same AutoIF everywhere
    mounted = {
        m["name"] for pod in pods for c in pod["containers"] for m in c.get("volumeMounts", ())
    }
    assert mounted == {volume["name"] for pod in pods for volume in pod.get("volumes", ())}
