# SPDX-License-Identifier: Apache-2.0
"""The file of examples/monit, read and acted on by a real Monit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.ports import free_port
from tests.support.running import Running, running, wait_for
from tests.support.web_servers import program, replaced

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "monit" / "tidegate.monitrc"
TIDEGATE = Path(sys.executable).with_name("tidegate")


def control_file(directory: Path, server: Running, telemetry: int, *, password: Path) -> Path:
    """The example with this machine's names, a cycle of one second, and a log."""
    known = directory / "known_hosts"
    public = (server.directory / "id_ed25519.pub").read_text()
    known.write_text(f"[127.0.0.1]:{server.port} {public}")
    marker = directory / "restarted"
    text = replaced(
        EXAMPLE.read_text(),
        {
            "tidegate serve": f"tidegate serve -c {server.directory}",
            "/usr/bin/systemctl start tidegate": f"/usr/bin/touch {marker}",
            "/usr/bin/systemctl stop tidegate": f"/bin/kill -KILL {server.pid}",
            "port 10080": f"port {telemetry}",
            "/usr/bin/tidegate": str(TIDEGATE),
            "/var/lib/tidegate": str(server.directory),
            "--port 2022": f"--port {server.port}",
            "--user probe": "--user probe",
            "/etc/tidegate/probe.password": str(password),
            "/etc/tidegate/known_hosts": str(known),
            "/srv/sftp": str(server.homes),
            "60 seconds\n    stop program": "1 seconds\n    stop program",  # tests wait for the start
            "every 5 cycles": "",
            "every 2 cycles": "",
        },
    )
    file = directory / "monitrc"
    file.write_text(
        f"set daemon 1\nset log {directory}/monit.log\nset idfile {directory}/id\n"
        f"set statefile {directory}/state\nset pidfile {directory}/pid\n"
        f"{text}"
    )
    file.chmod(0o600)
    return file


def test_monit_sees_health_and_restarts_what_is_dead(tmp_path: Path) -> None:
    monit, telemetry = program("monit"), free_port()
    settings = {"telemetry": {"bind_port": telemetry, "bind_address": "127.0.0.1"}}
    with running(tmp_path / "server", settings=settings, command=(str(TIDEGATE),)) as server:
        person = server.account("probe")
        place = tmp_path / "monit"
        place.mkdir()
        password = place / "password"
        password.write_text(person.password)
        password.chmod(0o600)
        file = control_file(place, server, telemetry, password=password)
        checked = subprocess.run(
            [monit, "-c", file, "-t"], capture_output=True, text=True, timeout=30, check=False
        )
        assert checked.returncode == 0, checked
        assert checked.stdout.endswith("Control file syntax OK\n"), checked

        said = place / "output"
        with said.open("wb") as output:
            daemon = subprocess.Popen([monit, "-c", file, "-I", "-v"], stdout=output, stderr=output)
        try:
            for found in (
                "'tidegate' connection succeeded to [127.0.0.1]",
                "'tidegate-status' status succeeded (0)",
                "'tidegate-probe' status succeeded (0)",
            ):
                wait_for(lambda found=found: found in said.read_text(), f"no {found}: {said.read_text()}", 40)
            assert server.lines("login", username="probe")
            assert not (place / "restarted").exists()
            server.kill()
            wait_for((place / "restarted").exists, f"not restarted: {said.read_text()[-2000:]}", 30)
        finally:
            daemon.terminate()
            daemon.wait(20)
