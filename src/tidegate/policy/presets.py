# SPDX-License-Identifier: Apache-2.0
"""Named lists of names that may not be brought in.

A preset concerns what a client creates or writes (uploads, overwrites, targets of renames, copies and
links, new directories). What lies there already can still be read and cleaned up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tidegate.policy.globs import fold

# The default block list of the Openbridge transfer gateway: 110 extensions.
_OPENBRIDGE: Final = """
ade adp app ai asa ashx asmx asp bas bat cdx cer cgi chm class cmd com config cpl crt csh dmg doc docx dll eps
exe fxp ftaccess hlp hta htr htaccess htw html htm ida idc idq ins isp its jse ksh lnk mad maf mag mam maq mar
mas mat mau mav maw mda mdb mde mdt mdw mdz msc msh msh1 msh1xml msh2 msh2xml mshxml msi msp mst ops pdf php
php3 php4 php5 pcd pif prf prg printer pst psd rar reg rem scf scr sct shb shs shtm shtml soap stm tgz taz url
vb vbe vbs ws wsc wsf wsh xls xlsx xvd
"""


@dataclass(frozen=True, slots=True)
class Preset:
    """A named list.

    Attributes:
        name: as `FilePatterns.preset` spells it.
        extensions: lower-case, without the dot; they concern files.
        dot_names: True if names that start with a dot are refused, of files and directories.
    """

    name: str
    extensions: frozenset[str]
    dot_names: bool

    def refuses(self, name: str, *, is_dir: bool) -> str | None:
        """The reason why this preset refuses a base name; None if it does not.

        Trailing dots and blanks do not count: Windows drops them when the file gets there, so that
        ``x.exe.`` is an ``exe`` in the end.
        """
        if self.dot_names and name.startswith("."):
            return "names that start with a dot are refused"
        if is_dir:
            return None
        _, dot, extension = fold(name).rstrip(". ").rpartition(".")
        if dot and extension in self.extensions:
            return f"extension {extension} is on the list"
        return None


OPENBRIDGE: Final = Preset("openbridge", frozenset(_OPENBRIDGE.split()), dot_names=True)

PRESETS: Final[dict[str, Preset]] = {OPENBRIDGE.name: OPENBRIDGE}
"""Every preset by name; validators of accounts accept these names and the empty one."""
