"""A name that is almost one of ours is refused with the right one; names of other programs are accepted."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.env_files import DEFAULTS, DRY_RUN, loaded, refused, written
from support.examples import examples

from lemmy_safety.errors import SettingsError
from lemmy_safety.settings import ENV_FILE_NAME, ENV_PREFIX, OPTIONS, load_settings


@pytest.mark.parametrize(
    "name",
    [
        "lemmy_safety_dry_run",
        "Lemmy_Safety_Dry_Run",
        "LEMMY-SAFETY-DRY-RUN",
        "LEMMYSAFETY_DRYRUN",
        "LEMMY_SAFTEY_DRY_RUN",
        "LEMY_SAFETY_DRY_RUN",
        "LEMMI_SAFTY_DRY_RUN",
        "LEMMY_SAFETY_DRYRUN",
        "LEMMY_SAFETY__DRY_RUN",
        "LEMMY_DRY_RUN",
        "LEMMY_ACTION",
        "FEDI_SAFETY_DRY_RUN",
        "LEMMY_DETECTORS",
        "SAFETY_HOOK_ON_FAILURE",
        "SAFETY_DRY_RUN",
        "DRYRUN",
        "DRY-RUN",
        "dry_run",
        "DRY_RUNS",
        "DETECTOR",
        "DETECTORES",
        "detectors",
        "SKIP_UNREADBLE",
        "UNREADABLE_ACTIONS",
        "lemmy_safety_env_file",
        "HOOK_ONFAILURE",
        "PICTRS_BUKCET",
    ],
)
def test_near_misses_are_refused_in_the_environment_and_in_the_file(tmp_path, name):
    """Compose's ``env_file`` and ``environment`` put them into the environment, where they look like anybody's."""
    for said in (
        refused(written(tmp_path, f"{name}=true\n")),
        refused(written(tmp_path, ""), {name: "true"}),
    ):
        assert "is not a setting. Did you mean " in said
        assert name in said


@pytest.mark.parametrize("name", ["ACTIONS", "THREAD", "MINUTE", "AWS_ACCESS_KEY", "SKIPPLAIN"])
def test_the_file_is_ours_so_more_counts_as_a_near_miss_there(tmp_path, name):
    """In the environment such names belong to other programs."""
    file = written(tmp_path, f"{name}=1\n")
    assert f"{name} is not a setting" in refused(file)
    assert load_settings(environ={name: "1"}) == DEFAULTS


@given(
    name=st.sampled_from(sorted(name for item in OPTIONS.values() for name in item.env if name.startswith(ENV_PREFIX))),
    data=st.data(),
)
@example(name=DRY_RUN, data=None)
def test_one_slip_of_a_key_in_a_name_of_ours_is_noticed(name, data):
    """A letter left out, doubled, exchanged with the next, or in another case, anywhere in the name."""
    places = range(len(name)) if data is None else [data.draw(st.integers(0, len(name) - 1))]
    ours = {name for item in OPTIONS.values() for name in item.env} | {ENV_FILE_NAME}
    for at in places:
        swapped = name[:at] + name[at + 1 : at + 2] + name[at] + name[at + 2 :]
        for slip in {name[:at] + name[at + 1 :], name[:at] + name[at] + name[at:], swapped, name.lower()} - ours:
            with pytest.raises(SettingsError, match="is not a setting"):
                load_settings(environ={slip: "1"})


#: What docker compose and the programs of its file read from the same ``.env``.
FOREIGN = """
    POSTGRES_USER POSTGRES_PASSWORD POSTGRES_DB POSTGRES_HOST POSTGRES_PORT POSTGRES_INITDB_ARGS POSTGRES_HOST_AUTH_METHOD
    PGHOST PGPORT PGUSER PGPASSWORD PGDATA MYSQL_ROOT_PASSWORD MYSQL_DATABASE MARIADB_USER REDIS_URL REDIS_HOST
    LEMMY_DATABASE_URL LEMMY_HOSTNAME LEMMY_CORS_ORIGIN LEMMY_UI_LEMMY_INTERNAL_HOST LEMMY_UI_LEMMY_EXTERNAL_HOST LEMMY_UI_HTTPS
    LEMMY_CONFIG_LOCATION LEMMY_VERSION LEMMY_SMTP_PASSWORD
    PICTRS__SERVER__API_KEY PICTRS__MEDIA__VIDEO__VIDEO_CODEC PICTRS__MEDIA__ANIMATION__MAX_WIDTH PICTRS__STORE__ENDPOINT
    PICTRS__STORE__BUCKET_NAME PICTRS__STORE__ACCESS_KEY PICTRS__STORE__SECRET_KEY PICTRS_OPENTELEMETRY_URL
    PICTRS_HOST PICTRS_PORT PICTRS_VERSION
    SMTP_HOST SMTP_HOSTNAME SMTP_PORT SMTP_USER SMTP_USERNAME SMTP_PASSWORD SMTP_FROM_ADDRESS SMTP_TLS_TYPE
    COMPOSE_PROJECT_NAME COMPOSE_FILE COMPOSE_PROFILES COMPOSE_PATH_SEPARATOR DOCKER_HOST DOCKER_BUILDKIT
    DATABASE_USER DATABASE_HOST DATABASE_PORT DATABASE_NAME DATABASE_PASSWORD DATABASE_POOL_SIZE DATABASE_URL_FILE DATABASE_SSL
    DATABASE_ROLE DB_URL
    AWS_REGION AWS_PROFILE AWS_ENDPOINT_URL AWS_CONFIG_FILE AWS_ROLE_ARN AWS_CA_BUNDLE AWS_SECRET_KEY
    WEBHOOK_PORT WEBHOOK_HOST WEBHOOK_SECRET WEBHOOK_URL WEBHOOK_QUEUE WEBHOOK_NETWORKS GIT_HOOK_PORT
    SSH_HOST SSH_USER SSH_KEY SSH_AUTH_SOCK SSH_KNOWN_HOSTS_FILE HOST_PORT HTTP_PORT RELAY_URL RELAY_HOST
    OBJECT_STORAGE_REGION OBJECT_STORAGE_BUCKET OBJECT_STORAGE_ACCESS_KEY SAFETY_URL DOMAIN TZ TAG UID GID NGINX_PORT RUST_LOG
""".split()  # noqa: SIM905 - a hundred words


@pytest.mark.parametrize("name", FOREIGN)
def test_names_of_other_programs_are_let_through_in_the_file_that_is_shared_with_them(tmp_path, name):
    """A name that differs from ours by a whole word is a name of its own."""
    assert loaded(written(tmp_path, f"{name}=some-value\n")) == (DEFAULTS, "")


@pytest.mark.parametrize(
    ("slip", "right"),
    [
        ("DATABASE_ULR", "DATABASE_URL"),
        ("DATABSE_URL", "DATABASE_URL"),
        ("DATABASEURL", "DATABASE_URL"),
        ("HOOK_PROT", "HOOK_PORT"),
        ("HOOKS_PORT", "HOOK_PORT"),
        ("OBJECT_STORAGE_ENDPONT", "OBJECT_STORAGE_ENDPOINT"),
        ("OBJEKT_STORAGE_ENDPIONT", "OBJECT_STORAGE_ENDPOINT"),
        ("PICTRSBUKCET", "PICTRS_BUCKET"),
        ("RELAY_API_KEY", "RELAY_APIKEY"),
        ("SSH_KNOWN_HOST", "SSH_KNOWN_HOSTS"),
        ("AWS_ACCESS_KEY", "AWS_ACCESS_KEY_ID"),
    ],
)
def test_slips_of_the_file_are_refused_and_the_right_name_is_given(tmp_path, slip, right):
    """One or two letters, a separator, or both."""
    assert f"Did you mean {right}?" in loaded(written(tmp_path, f"{slip}=some-value\n"))[1]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(300))
@given(
    name=st.sampled_from(sorted({name for item in OPTIONS.values() for name in item.env} - {"DEBUG"})), data=st.data()
)
def test_one_slip_of_a_key_in_the_file_is_noticed(tmp_path, name, data):
    """In every name that has a form for the file: a letter left out, doubled or exchanged with the next."""
    at = data.draw(st.integers(0, len(name) - 2))
    swapped = name[:at] + name[at + 1] + name[at] + name[at + 2 :]
    ours = {name for item in OPTIONS.values() for name in item.env} | {ENV_FILE_NAME}
    for slip in {name[:at] + name[at + 1 :], name[:at] + name[at] + name[at:], swapped} - ours:
        assert "is not a setting" in loaded(written(tmp_path, f"{slip}=1\n"))[1], slip


def test_variables_of_other_programs_are_let_through():
    """Names that shells, containers and other tools set are not ours."""
    others = """
        PATH HOME LANG TERM PWD SHLVL HOSTNAME USER LOGNAME SHELL EDITOR TZ DISPLAY CI DEBUG ACTION PREFIX
        DEVICE STORAGE MINUTES THREADS ALL EXACT no_proxy http_proxy _ OLDPWD SYSTEM_ACTION SSH_AUTH_SOCK
        SSH_AGENT_PID SSH_CONNECTION SSH_CLIENT SSH_TTY SSH_ASKPASS SSH_USER SSH_HOST AWS_PROFILE AWS_REGION
        AWS_ENDPOINT_URL AWS_ACCESS_KEY AWS_SECRET_KEY AWS_CONFIG_FILE UV_CACHE_DIR PIP_CACHE_DIR R_CACHE_DIR
        XDG_CACHE_HOME DATABASE_HOST POSTGRES_DB LEMMY_DATABASE_URL LEMMY_HOSTNAME
    """.split()  # noqa: SIM905 - fifty words
    assert load_settings(environ=dict.fromkeys(others, "x")) == DEFAULTS
