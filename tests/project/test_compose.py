"""docker-compose.yml and Dockerfile, as far as they can be judged without a docker engine."""

from __future__ import annotations

import ipaddress
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from ruamel.yaml import YAML
from support.servers.compose import COMPOSE_FILE, compose_with_pictrs, environment, with_pictrs

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
    plain = tmp_path / "docker-compose.yml"
    plain.write_text(with_pictrs(COMPOSE_FILE.read_text(encoding="utf-8")), encoding="utf-8")
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
        assert service["init"] is True
        assert service["tmpfs"] == ["/tmp"]  # noqa: S108


def started(compose, *profiles):
    """The services that ``docker compose up`` starts with these profiles."""
    return {
        name
        for name, item in compose["services"].items()
        if set(item.get("profiles", profiles)) & {*profiles} or "profiles" not in item
    }


@pytest.mark.parametrize("profiles", [(), ("pictrs",), ("hook",), ("relay",), ("gpu",), ("hook", "gpu")])
def test_pictrs_asks_the_hook_exactly_where_the_hook_is_started(profiles):
    """With any profile, a pict-rs that asks has the hook started before it, and one that does not ask has none."""
    compose = compose_with_pictrs()
    running = started(compose, *profiles)
    asking = {
        name
        for name in running
        if "PICTRS__MEDIA__EXTERNAL_VALIDATION" in (compose["services"][name].get("environment") or {})
    }
    assert bool(asking) == ("lemmy-safety-hook" in running)
    for name in asking:
        assert "lemmy-safety-hook" in compose["services"][name]["depends_on"]
    assert len({"pictrs", "pictrs-with-hook"} & running) == len({"pictrs", "hook"} & set(profiles))
    # Compose refuses to start a service whose dependency belongs to a profile that is off.
    assert {other for name in running for other in compose["services"][name].get("depends_on", {})} <= running


def test_no_secret_of_the_hook_is_wanted_without_the_hook():
    """Compose fills in the variables of every service, also of profiles that are off: a ``:?`` would stop all of them."""
    text = with_pictrs(COMPOSE_FILE.read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    assert set(re.findall(r"\$\{(\w+):\?", "\n".join(lines))) == {"PICTRS_API_KEY"}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("before", ["nothing", "of root", "of pict-rs", "with files"])
def test_the_folder_of_pictrs_is_made_for_its_user(tmp_path, before):
    """The command of ``pictrs-folder``, on a real folder: new, made by docker for root, or in use for years."""
    compose = compose_with_pictrs()
    folder = tmp_path / "pictrs"
    if before != "nothing":
        folder.mkdir()
    if before == "with files":
        (folder / "files").mkdir()
        (folder / "files" / "old").write_bytes(b"kept")
    if before in {"of pict-rs", "with files"}:
        os.chown(folder, 991, 991)
    shell, flag, command = compose["services"]["pictrs-folder"]["entrypoint"]
    subprocess.run([shell, flag, command.replace("/pictrs", str(folder))], check=True)
    for path in (folder, folder / "files"):
        assert (path.stat().st_uid, path.stat().st_gid) == (991, 991)
    assert not (folder / "files" / "old").exists() or (folder / "files" / "old").read_bytes() == b"kept"
    for name in started(compose, "hook", "pictrs"):
        service = compose["services"][name]
        if name != "pictrs-folder" and any("./volumes/pictrs:" in item for item in service.get("volumes", [])):
            assert service["depends_on"]["pictrs-folder"] == {"condition": "service_completed_successfully"}


def test_docker_starts_no_service_over_and_over_that_a_person_must_fix(services):
    """The services wait with such a fault, and their health check looks for the file that says so."""
    for service in services.values():
        file = service["environment"]["LEMMY_SAFETY_FAULT_FILE"]
        assert service["healthcheck"]["test"] == ["CMD", "test", "!", "-e", file]
        assert file.startswith(service["tmpfs"][0])


def test_settings_reach_the_container_as_they_are_written(services):
    """Compose expands a $ in a plain env_file and in ``environment``; format raw and no ``${}`` leave our settings alone."""
    names = {name for item in OPTIONS.values() for name in item.env}
    for service in services.values():
        assert service["env_file"] == [{"path": ".env", "format": "raw"}]
        ours = {name: value for name, value in service.get("environment", {}).items() if name in names}
        assert not any("$" in str(value) for value in ours.values())


@pytest.fixture(scope="module")
def hook_network():
    """The network between pict-rs and the hook, and the addresses of the services in it."""
    compose = compose_with_pictrs()
    addresses = {
        name: ipaddress.ip_address(service["networks"]["hook"]["ipv4_address"])
        for name, service in compose["services"].items()
        if isinstance(service.get("networks"), dict) and service["networks"]["hook"]
    }
    return compose, compose["networks"]["hook"], addresses


def test_pictrs_is_given_the_address_of_the_hook_and_no_name(hook_network):
    """pict-rs refuses names of private addresses: the URL has the hook's own address, in a network that both are in."""
    compose, network, addresses = hook_network
    assert set(addresses) == {"lemmy-safety-hook", "lemmy-safety-relay"}
    asking = compose["services"]["pictrs-with-hook"]
    given = environment(asking, {"HOOK_SECRET": "s" * 16, "PICTRS_API_KEY": "k"})
    url = urlsplit(given["PICTRS__MEDIA__EXTERNAL_VALIDATION"])
    assert ipaddress.ip_address(url.hostname) == addresses["lemmy-safety-hook"]
    assert url.path == f"/validate/{'s' * 16}"
    assert "hook" in asking["networks"]
    assert "PICTRS__CLIENT__ALLOW_LOCAL_CONNECTIONS" not in given
    (config,) = network["ipam"]["config"]
    assert all(address in ipaddress.ip_network(config["subnet"]) for address in addresses.values())


def test_addresses_of_the_hook_and_the_relay_are_never_given_to_others(hook_network):
    """Docker hands out addresses of a range of its own, and the gateway is another one too."""
    _, network, addresses = hook_network
    (config,) = network["ipam"]["config"]
    handed_out, subnet = ipaddress.ip_network(config["ip_range"]), ipaddress.ip_network(config["subnet"])
    taken = [*addresses.values(), ipaddress.ip_address(config["gateway"])]
    assert len(set(taken)) == len(taken)
    assert handed_out.subnet_of(subnet)
    assert not any(address in handed_out for address in taken)


def test_the_docs_of_the_hook_name_the_addresses_of_the_compose_file(hook_network):
    """docs/upload-hook.md: every private address is one of the compose file's, and the network has its name."""
    _, network, addresses = hook_network
    text = (ROOT / "docs" / "upload-hook.md").read_text(encoding="utf-8")
    (config,) = network["ipam"]["config"]
    known = {str(address) for address in addresses.values()} | {config["subnet"].partition("/")[0]}
    assert set(re.findall(r"\b10\.140\.\d+\.\d+", text)) == known
    assert f"name: {network['name']}" in text
    assert config["subnet"] in text


@pytest.mark.parametrize("document", ["upload-hook.md", "relay.md"])
def test_no_document_gives_pictrs_a_name_of_a_private_address(document):
    """Anyone who copies a URL of the hook from the docs gets an address; names are shown in the table of answers only."""
    text = (ROOT / "docs" / document).read_text(encoding="utf-8")
    urls = re.findall(r"EXTERNAL_VALIDATION(?:=|: )(http\S+)", text)
    assert urls
    for url in urls:
        assert ipaddress.ip_address(urlsplit(url).hostname).is_private


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
