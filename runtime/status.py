"""What `vaxtrail status` tells: processes, ports, positions, followers, refused messages, clock."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import psycopg

from runtime import folder
from runtime.broker_log import faults
from runtime.health import queries
from runtime.process import alive
from runtime.services import health
from runtime.settings import Settings
from runtime.terminal import clock_of


def gather(settings: Settings) -> dict[str, Any]:
    """Return the state of the instance on this data folder; `running` is false when none runs."""
    data = settings.data
    instance = folder.last_instance(data)
    running = instance is not None and alive(instance.pid) and folder.holder(data) is not None
    found: dict[str, Any] = {"data": str(data), "running": running}
    if instance is None or not running:
        return found
    clock = clock_of(settings)
    checks = health(settings, instance.app_dsn, instance.mqtt_server_url).check()
    found |= {
        "pid": instance.pid,
        "parts": {
            name: {"pid": pid, "restarts": instance.restarts.get(name, 0)}
            for name, pid in instance.pids.items()
        },
        "ports": instance.ports,
        "api_url": instance.api_url,
        "pgdata": instance.pgdata,
        "clock": {"kind": instance.clock, "now": clock.now().isoformat()},
        "health": {name: check._asdict() for name, check in checks.items()},
        "ready": all(check.ok for check in checks.values()),
        "gateway_faults": [
            asdict(fault) | dict(zip(("zh", "en"), fault.texts, strict=True))
            for fault in faults(data)
        ],
    }
    if checks["database"].ok:
        found |= _from_database(instance.app_dsn)
    return found


def _from_database(app_dsn: str) -> dict[str, Any]:
    with psycopg.connect(app_dsn, autocommit=True) as conn:
        ledger, telemetry = conn.execute(queries.positions).fetchone() or (0, 0)
        return {
            "position": f"L{ledger}.T{telemetry}",
            "followers": {
                name: {"position": position, "behind": behind}
                for name, position, behind in conn.execute(queries.followers)
            },
            "quarantine": dict(conn.execute(queries.quarantine_by_state).fetchall()),
        }


def rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the same for people: label and text."""
    if not found["running"]:
        return [("数据目录 data", found["data"]), ("状态 state", "未运行 not running")]
    parts = ", ".join(
        f"{name} {part['pid']}"
        + (f" (重启 restarted {part['restarts']}×)" if part["restarts"] else "")
        for name, part in found["parts"].items()
    )
    bad = [f"{name}: {c['detail']}" for name, c in found["health"].items() if not c["ok"]]
    lines = [
        ("数据目录 data", found["data"]),
        ("状态 state", "就绪 ready" if found["ready"] else "; ".join(bad)),
        ("进程 processes", f"up {found['pid']}, {parts}"),
        ("端口 ports", ", ".join(f"{k} {v}" for k, v in found["ports"].items())),
        ("API", found["api_url"]),
        ("时钟 clock", f"{found['clock']['kind']} {found['clock']['now']}"),
    ]
    if found["pgdata"] and not Path(found["pgdata"]).is_relative_to(found["data"]):
        lines.append(("数据库目录 database folder", found["pgdata"]))
    lines += [("网关异常 gateway fault", fault["zh"]) for fault in found["gateway_faults"]]
    if "position" in found:
        behind = ", ".join(f"{n} {f['behind']}" for n, f in found["followers"].items())
        refused = ", ".join(f"{state} {n}" for state, n in found["quarantine"].items()) or "0"
        lines += [
            ("日志位置 position", found["position"]),
            ("读模型落后 followers behind", behind),
            ("隔离消息 quarantine", refused),
        ]
    return lines
