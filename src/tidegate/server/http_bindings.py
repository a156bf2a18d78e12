# SPDX-License-Identifier: Apache-2.0
"""Bindings of `httpd` as the HTTP door takes them."""

from __future__ import annotations

from tidegate.config.load import Loaded
from tidegate.config.schema.httpd import HttpBinding as BindingSection
from tidegate.doors.common.admission import AdmissionLimits
from tidegate.doors.http.door import CertificateFiles, HttpBinding
from tidegate.doors.http.edge import EdgeOptions
from tidegate.doors.http.listener import HttpLimits
from tidegate.model.address_list import AddressList
from tidegate.web import site
from tidegate.web.api import application as api


def bindings(loaded: Loaded) -> tuple[HttpBinding, ...]:
    """Bindings of `httpd` that are on."""
    return tuple(
        HttpBinding(
            label=f"httpd.bindings[{index}]",
            address=binding.address,
            port=binding.port,
            tls=_certificate(loaded, binding),
            edge=_edge(loaded, binding),
            limits=_limits(loaded, binding),
        )
        for index, binding in enumerate(loaded.settings.httpd.bindings)
        if binding.port
    )


def _certificate(loaded: Loaded, binding: BindingSection) -> CertificateFiles | None:
    if not binding.enable_https:
        return None
    return CertificateFiles(
        loaded.resolve(binding.certificate_file),
        loaded.resolve(binding.certificate_key_file),
        binding.min_tls_version,
        suites=tuple(binding.tls_cipher_suites),
    )


def _edge(loaded: Loaded, binding: BindingSection) -> EdgeOptions:
    parts = site.Parts(
        rest=binding.enable_rest_api,
        description=binding.render_openapi,
        admin=binding.enable_web_admin,
        metrics=binding.enable_metrics,
        old=binding.enable_rest_api_v1,
    )
    return EdgeOptions(
        serves=parts.serves,
        binding=parts,
        shown_parameters=api.SHOWN_PARAMETERS,
        proxies=AddressList(binding.proxy_allowed),
        header=binding.client_ip_proxy_header.lower(),
        depth=binding.client_ip_header_depth,
        max_body=loaded.settings.httpd.max_request_size,
    )


def _limits(loaded: Loaded, binding: BindingSection) -> HttpLimits:
    httpd = loaded.settings.httpd
    return HttpLimits(
        AdmissionLimits(
            connections=httpd.max_connections,
            per_source=httpd.max_connections_per_source,
            exempt=AddressList(binding.proxy_allowed),
            make_room=True,
        ),
        head_seconds=float(httpd.head_timeout),
        proxied=binding.proxy_mode == 1,
    )
