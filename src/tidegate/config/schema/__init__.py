# SPDX-License-Identifier: Apache-2.0
"""The schema: one model a section. It is the one truth for validation, help texts and documentation."""

from tidegate.config.schema.base import MASK, Section
from tidegate.config.schema.common import Common
from tidegate.config.schema.data_provider import DataProvider, PasswordHashing, PasswordValidation
from tidegate.config.schema.httpd import HttpBinding, Httpd
from tidegate.config.schema.settings import Settings
from tidegate.config.schema.sftpd import SSH_COMMANDS, SftpBinding, Sftpd

__all__ = [
    "MASK",
    "SSH_COMMANDS",
    "Common",
    "DataProvider",
    "HttpBinding",
    "Httpd",
    "PasswordHashing",
    "PasswordValidation",
    "Section",
    "Settings",
    "SftpBinding",
    "Sftpd",
]
