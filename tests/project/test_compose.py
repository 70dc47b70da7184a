"""docker-compose.yml and Dockerfile, as far as they can be judged without a docker engine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from lemmy_safety.settings import OPTIONS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def services():
    return YAML(typ="safe").load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]


def check_against_the_specification(path: Path) -> subprocess.CompletedProcess:
    """Validate with the compose specification's JSON schema that check-jsonschema carries; needs no network."""
    return subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_compose_file_follows_the_specification():
    """docker-compose.yml is valid by the compose specification."""
    done = check_against_the_specification(ROOT / "docker-compose.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_specification_check_finds_faults(tmp_path):
    """The check above is no formality: a misspelt key is refused."""
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    assert "stop_grace_period:" in text
    wrong = tmp_path / "docker-compose.yml"
    wrong.write_text(text.replace("stop_grace_period:", "stop_grace_perod:"), encoding="utf-8")
    assert check_against_the_specification(wrong).returncode == 1


def test_compose_with_pictrs_beside_it_follows_the_specification(tmp_path):
    """The commented pict-rs service is valid once its comment signs are removed."""
    lines = (ROOT / "docker-compose.yml").read_text(encoding="utf-8").splitlines()
    plain = tmp_path / "docker-compose.yml"
    plain.write_text("\n".join(line.replace("#:", "", 1) for line in lines), encoding="utf-8")
    done = check_against_the_specification(plain)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pictrs" in YAML(typ="safe").load(plain.read_text(encoding="utf-8"))["services"]


def test_services_have_no_more_rights_than_needed(services):
    """All variants run unprivileged, on a read-only root, without core dumps, with time to stop cleanly."""
    assert set(services) == {"lemmy-safety", "lemmy-safety-gpu", "lemmy-safety-hook", "lemmy-safety-relay"}
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["ulimits"]["core"] == 0
        assert service["restart"] == "unless-stopped"
        assert service["stop_grace_period"] == "15s"
        assert service["tmpfs"] == ["/tmp"]  # noqa: S108


def test_settings_reach_the_container_as_they_are_written(services):
    """Compose expands a $ in a plain env_file and in ``environment``; format raw and no ``${}`` leave our settings alone."""
    names = {name for item in OPTIONS.values() for name in item.env}
    for service in services.values():
        assert service["env_file"] == [{"path": ".env", "format": "raw"}]
        ours = {name: value for name, value in service.get("environment", {}).items() if name in names}
        assert not any("$" in str(value) for value in ours.values())


def test_gpu_is_reserved_in_its_profile_only(services):
    """The GPU variant asks for one in its own profile; the plain one runs anywhere."""
    assert "deploy" not in services["lemmy-safety"]
    gpu = services["lemmy-safety-gpu"]
    assert gpu["profiles"] == ["gpu"]
    (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert "gpu" in device["capabilities"]


def test_the_relay_is_light_and_reached_by_a_proxy_alone(services):
    """No torch in its image, and no port that other machines could reach: TLS comes before it."""
    relay = services["lemmy-safety-relay"]
    assert relay["build"]["args"]["EXTRAS"] == "web"
    assert relay["image"] != services["lemmy-safety"]["image"]
    assert relay["ports"] == ["127.0.0.1:14051:14051"]
    assert {"HOOK_HOST", "HOOK_SECRET", "RELAY_APIKEY"} <= {name for item in OPTIONS.values() for name in item.env}
    assert relay["profiles"] == ["relay"]


def test_image_sets_only_known_options_and_no_root():
    """Every setting the Dockerfile fills in exists, and the image's user is not root."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    names = {name for item in OPTIONS.values() for name in item.env}
    for name in ("SQLITE_FILENAME", "CACHE_DIR"):
        assert f"{name}=/" in text
        assert name in names
    users = [line.split()[1] for line in text.splitlines() if line.startswith("USER ")]
    assert users
    assert users[-1] not in ("root", "0")
