# SPDX-License-Identifier: Apache-2.0
"""A store that guides may use: ``guide-store PORT BUCKET`` starts SeaweedFS with one bucket, until Ctrl-C."""

from __future__ import annotations

import signal
import sys
import tempfile
from pathlib import Path

from tests.support.object_servers import seaweedfs


def main() -> None:
    port, bucket = int(sys.argv[1]), sys.argv[2]
    with (
        tempfile.TemporaryDirectory(prefix="guide-store-") as place,
        seaweedfs(Path(place), s3_port=port) as server,
    ):
        server.admin.create_bucket(Bucket=bucket)
        sys.stdout.write(f"bucket {bucket} at {server.endpoint}. Ctrl-C ends it.\n")
        sys.stdout.flush()
        signal.pause()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(0)
