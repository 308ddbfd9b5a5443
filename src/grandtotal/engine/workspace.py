"""What FLARE reads at a party, written anew at every start by this party's own installation.

No code travels: jobs must be signed, custom code is nobody's right, only classes of our adapter are
built, logs are streamed to nobody. A kit cannot say otherwise, because these rules are not in it.
"""

import os
import re
import shutil
from pathlib import Path

from grandtotal.durable import Json, read_json, write_json
from grandtotal.engine.certificates import of_key, read_certificate, read_key
from grandtotal.engine.jsonlines import JsonLines
from grandtotal.engine.kits import COORDINATOR, OFFICER, OFFICER_ROLE, Kit
from grandtotal.errors import PlanError

ADAPTER = "grandtotal.engine.flare"
CONFIG = "retailer.json"
_JOB = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_KEPT_JOBS = 20
_LOG_BYTES, _LOGS = 10 * 2**20, 5

_RULES: Json = {
    "format_version": 2,
    "class_list_enforcement_mode": "enforce",
    "class_allow_list": [f"{ADAPTER}."],
    "allow_log_streaming": False,
}
# Who submits may have a job run and ended, and nothing else; no other role has any right.
_RIGHTS: Json = {
    "format_version": "1.0",
    "permissions": {
        OFFICER_ROLE: {
            "submit_job": "any",
            "manage_job": "n:submitter",
            "view": "any",
            "clone_job": "none",
            "download_job": "none",
            "operate": "none",
            "shell_commands": "none",
            "byoc": "none",
            "server-predeployed-flwr": "none",
        }
    },
}


def of_retailer(kit: Kit, config: Path, key: Path) -> None:
    """Writes the workspace of a retailer; config and key are its own files, and stay there.

    PlanError where the certificate is not of this key.
    """
    if not of_key(read_certificate(kit.path / "client.crt"), read_key(key)):
        raise PlanError(
            f"{kit.path / 'client.crt'}: of another key than {key}; send the coordinator the "
            f"request that `grandtotal retailer certificate` writes, and ask for the kit again"
        )
    _sweep(kit.path)
    startup = kit.path / "startup"
    server = {"name": kit.alliance.name, "identity": COORDINATOR, "service": _service(kit)}
    write_json(
        startup / "fed_client.json",
        {
            "format_version": 2,
            "require_signed_jobs": True,
            "servers": [server],
            "client": {**_files("client"), "fqsn": kit.me, "is_leaf": True},
        },
    )
    _place(startup, {"client.crt": kit.path / "client.crt", "client.key": key}, kit)
    _local(kit.path, {**_RULES, "client": {"retry_timeout": 30}, "components": _site_components()})
    write_json(kit.path / "local" / CONFIG, {"config": str(config.resolve())})


def of_coordinator(kit: Kit) -> None:
    """Writes the workspaces of the coordinator: the server's, and that of who submits jobs."""
    _sweep(kit.path)
    _sweep(kit.path / "flare" / "jobs")
    keys = kit.path / "keys"
    server = {
        "name": kit.alliance.name,
        "service": _service(kit),
        "admin_server": kit.alliance.host,
        "admin_port": kit.alliance.port,
        **_files("server"),
    }
    write_json(
        kit.path / "startup" / "fed_server.json",
        {"format_version": 2, "require_signed_jobs": True, "servers": [server]},
    )
    given = {"server.crt": kit.path / "server.crt", "server.key": keys / "server.key"}
    _place(kit.path / "startup", given, kit)
    _local(kit.path, {**_RULES, **_server_resources(kit.path / "flare")})
    _officer(kit, kit.path / OFFICER)


def broken_rules(kit: Kit) -> list[str] | None:
    """Returns which of our rules somebody changed in a workspace; None where it was never written.

    They are in force as they were at the start, or, for classes and signatures, at once.
    """
    local = kit.path / "local"
    if not (local / "resources.json").exists():
        return None
    found, side = (
        read_json(local / "resources.json"),
        "server" if kit.me == COORDINATOR else "client",
    )
    broken = [key for key, value in _RULES.items() if found.get(key) != value]
    if read_json(local / "authorization.json") != _RIGHTS:
        broken.append("authorization.json")
    if read_json(kit.path / "startup" / f"fed_{side}.json").get("require_signed_jobs") is not True:
        broken.append("require_signed_jobs")
    return broken


def _sweep(folder: Path) -> None:
    """Removes what FLARE kept of all but its newest jobs: what matters of a run is in runs/."""
    jobs = [path for path in folder.glob("*-*-*-*-*") if _JOB.fullmatch(path.name)]
    for path in sorted(jobs, key=lambda path: -path.stat().st_mtime)[_KEPT_JOBS:]:
        shutil.rmtree(path, ignore_errors=True)


def _officer(kit: Kit, folder: Path) -> None:
    files = {"client_key": "client.key", "client_cert": "client.crt", "ca_cert": "rootCA.pem"}
    admin = {
        "project_name": kit.alliance.name,
        "username": OFFICER,
        "server_identity": COORDINATOR,
        "scheme": "grpc",
        "host": "127.0.0.1",
        "port": kit.alliance.port,
        "connection_security": "mtls",
        "uid_source": "cert",
        "with_file_transfer": True,
        "upload_dir": "transfer",
        "download_dir": "transfer",
        **files,
    }
    write_json(folder / "startup" / "fed_admin.json", {"format_version": 1, "admin": admin})
    admin = {"idle_timeout": 900.0, "login_timeout": 10.0, "authenticate_msg_timeout": 5.0}
    write_json(folder / "local" / "resources.json", {"format_version": 1, "admin": admin})
    (folder / "transfer").mkdir(exist_ok=True)
    given = {
        "client.crt": kit.path / f"{OFFICER}.crt",
        "client.key": kit.path / "keys" / f"{OFFICER}.key",
    }
    _place(folder / "startup", given, kit)


def _service(kit: Kit) -> Json:
    return {"target": f"{kit.alliance.host}:{kit.alliance.port}", "scheme": "grpc"}


def _files(side: str) -> Json:
    return {
        "ssl_private_key": f"{side}.key",
        "ssl_cert": f"{side}.crt",
        "ssl_root_cert": "rootCA.pem",
        "connection_security": "mtls",
    }


def _place(startup: Path, files: dict[str, Path], kit: Kit) -> None:
    for name, source in {**files, "rootCA.pem": kit.path / "rootCA.pem"}.items():
        (startup / name).unlink(missing_ok=True)
        if name.endswith(".key"):
            os.symlink(source.resolve(), startup / name)  # a secret has one place
        else:
            shutil.copyfile(source, startup / name)


def _local(folder: Path, resources: Json) -> None:
    write_json(folder / "local" / "resources.json", resources)
    write_json(folder / "local" / "authorization.json", _RIGHTS)
    write_json(folder / "local" / "log_config.json", _log_config())
    # A connection between a party's own two processes: never on the network.
    internal = {"scheme": "tcp", "resources": {"host": "127.0.0.1", "connection_security": "clear"}}
    write_json(
        folder / "local" / "comm_config.json", {"allow_adhoc_conns": False, "internal": internal}
    )


def _site_components() -> list[Json]:
    managers = "nvflare.app_common.resource_managers.gpu_resource_manager.GPUResourceManager"
    return [
        _component("resource_manager", managers, num_of_gpus=0, mem_per_gpu_in_GiB=0),
        _component(
            "resource_consumer",
            "nvflare.app_common.resource_consumers.gpu_resource_consumer.GPUResourceConsumer",
        ),
        _component("process_launcher", f"{ADAPTER}.SiteProcesses"),
    ]


def _server_resources(store: Path) -> Json:
    storage = "nvflare.app_common.storages.filesystem_storage.FilesystemStorage"
    return {
        "servers": [
            {
                "admin_storage": "transfer",
                "max_num_clients": 100,
                "heart_beat_timeout": 60,
                "admin_timeout": 10.0,
            }
        ],
        "snapshot_persistor": {
            "path": "nvflare.app_common.state_persistors.storage_state_persistor."
            "StorageStatePersistor",
            "args": {
                "uri_root": "/",
                "storage": {
                    "path": storage,
                    "args": {"root_dir": str(store / "snapshots"), "uri_root": "/"},
                },
            },
        },
        "components": [
            _component(
                "job_scheduler",
                "nvflare.app_common.job_schedulers.job_scheduler.DefaultJobScheduler",
                max_jobs=4,
                # Often enough to begin at once when the last member dials in; then we ask anew.
                min_schedule_interval=0.5,
                max_schedule_interval=1.0,
                max_schedule_count=50,
            ),
            _component(
                "job_manager",
                "nvflare.apis.impl.job_def_manager.SimpleJobDefManager",
                uri_root=str(store / "jobs"),
                job_store_id="job_store",
            ),
            _component("job_store", storage),
            _component("process_launcher", f"{ADAPTER}.ServerProcesses"),
        ],
    }


def _component(name: str, path: str, **args: object) -> Json:
    return {"id": name, "path": path, "args": args}


def _log_config() -> Json:
    rotating = {
        "class": "logging.handlers.RotatingFileHandler",
        "mode": "a",
        "maxBytes": _LOG_BYTES,
        "backupCount": _LOGS,
        "formatter": "lines",
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"lines": {"class": f"{JsonLines.__module__}.{JsonLines.__name__}"}},
        "handlers": {
            "log": {**rotating, "level": "INFO", "filename": "log.jsonl"},
            "errors": {**rotating, "level": "ERROR", "filename": "errors.jsonl"},
        },
        "loggers": {"root": {"level": "INFO", "handlers": ["log", "errors"]}},
    }
