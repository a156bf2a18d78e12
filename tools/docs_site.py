# SPDX-License-Identifier: Apache-2.0
"""Build the documentation as a site that works from a disk, without a network, and check every link of it.

    docs_site.py DIRECTORY

Pages keep their places (docs, examples, the files at the top), so that links between them hold here, in an
editor and on the site alike. Nothing is loaded from elsewhere: no fonts, no scripts; search works offline.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml

ROOT = Path(__file__).resolve().parents[1]
TOP = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE")
TREES = ("docs", "examples", "bench/RESULTS.md")
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}
SHIM = "https://unpkg.com/iframe-worker/shim"
"""A script that the generator has browsers load for searching on a disk; a copy takes its place."""
TOC = "table-of-contents"
SLUGS = "toc: {permalink: true, slugify: !!python/object/apply:pymdownx.slugs.slugify {kwds: {case: lower}}}"
"""Ids of headings as the pages' own links have them."""
OWN = {"canonical", "alternate"}
LINK = re.compile(r"\]\(([^)\s#]+\.md)(?:#[^)]*)?\)")


def stage(place: Path) -> None:
    """Copy what is tracked of the pages, and the files that they link to."""
    done = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", *TOP, *TREES], capture_output=True, text=True, check=True
    )
    for name in filter(None, done.stdout.split("\0")):
        target = place / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
    for page in place.rglob("*.md"):
        for link in re.findall(r"\]\(([^)\s#]+)", page.read_text(encoding="utf-8")):
            source = (ROOT / page.parent.relative_to(place) / unquote(link)).resolve()
            if "://" not in link and source.is_relative_to(ROOT) and source.is_file():
                target = place / source.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                if not target.exists():
                    shutil.copyfile(source, target)


def navigation(place: Path) -> list[object]:
    """The order of pages: the guides as docs/index.md has them, the rest by name."""
    index = (place / "docs/index.md").read_text(encoding="utf-8")
    ordered = [f"docs/{name}" for name in dict.fromkeys(LINK.findall(index))]

    def pages(folder: str) -> list[str]:
        known = [name for name in ordered if name.startswith(f"docs/{folder}/")]
        there = sorted(f"docs/{folder}/{path.name}" for path in (place / "docs" / folder).glob("*.md"))
        return [*known, *(name for name in there if name not in known)]

    return [
        {"Start": ["README.md", "docs/index.md", *pages("tutorials")]},
        {"Guides": pages("how_to")},
        {"Reference": pages("reference")},
        {"Explanation": [*pages("explanation"), "bench/RESULTS.md"]},
        {
            "Examples": sorted(
                str(path.relative_to(place)) for path in (place / "examples").rglob("README.md")
            )
        },
        {"Decisions": pages("adr")},
        {"Project": ["CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"]},
    ]


def configuration(place: Path, site: Path) -> dict[str, object]:
    """The generator's configuration."""
    return {
        "site_name": "Tidegate",
        "docs_dir": str(place),
        "site_dir": str(site),
        "use_directory_urls": False,
        "theme": {
            "name": "material",
            "font": False,
            "features": ["navigation.tabs", "navigation.top", "toc.follow", "content.code.copy"],
            "palette": [
                {"media": "(prefers-color-scheme: light)", "scheme": "default", "primary": "teal"},
                {"media": "(prefers-color-scheme: dark)", "scheme": "slate", "primary": "teal"},
            ],
        },
        "plugins": ["search", "offline"],
        "markdown_extensions": ["tables", "fenced_code", "sane_lists", "pymdownx.superfences", TOC],
        "validation": {"links": {"not_found": "warn", "anchors": "ignore", "absolute_links": "warn"}},
        "nav": navigation(place),
    }


def put_shim(site: Path) -> None:
    """Have pages load the script for searching on a disk from the site itself."""
    shutil.copyfile(
        Path(__file__).with_name("iframe_worker.js"), site / "assets/javascripts/iframe_worker.js"
    )
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        up = "../" * (len(path.relative_to(site).parts) - 1)
        path.write_text(text.replace(SHIM, f"{up}assets/javascripts/iframe_worker.js"), encoding="utf-8")


class Page(HTMLParser):
    """Anchors and links of a page of the site.

    Attributes:
        anchors: names in it that links may lead to.
        links: addresses of links.
        loaded: addresses that a browser loads by itself.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect one tag."""
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        elif (name := LOADED.get(tag)) and values.get(name) and not OWN & set(values.get("rel", "").split()):
            self.loaded.append(values[name])


def problems_of(site: Path) -> list[str]:
    """Links of the site that lead nowhere, and what would be loaded from another host."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    problems: list[str] = []
    for path, page in pages.items():
        name = path.relative_to(site)
        problems += [f"{name}: loads {address}" for address in page.loaded if urlsplit(address).netloc]
        for address in (*page.links, *page.loaded):
            parts = urlsplit(address)
            if parts.scheme or parts.netloc or path.name == "404.html":
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.exists():
                problems.append(f"{name}: {address} leads nowhere")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                problems.append(f"{name}: {address}: no such heading")
    for path in sorted(site.rglob("*.css")):
        for address in re.findall(r"url\(['\"]?([^)'\"]+)", path.read_text(encoding="utf-8")):
            problems += [f"{path.relative_to(site)}: loads {address}"] * bool(urlsplit(address).netloc)
    return problems


def main(site: Path) -> int:
    """Build and check; returns the exit code."""
    with tempfile.TemporaryDirectory(prefix="tidegate-site-") as directory:
        place = Path(directory, "pages")
        place.mkdir()
        stage(place)
        config = Path(directory, "mkdocs.yml")
        text = yaml.safe_dump(configuration(place, site.absolute()), sort_keys=False)
        config.write_text(text.replace(TOC, SLUGS), encoding="utf-8")
        build = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--clean", "-f", str(config)]
        quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "true"}
        if code := subprocess.run(build, check=False, env=quiet).returncode:
            return code
        put_shim(site)
    problems = problems_of(site)
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        print(f"{sum(1 for _ in site.rglob('*.html'))} pages in {site}; open {site / 'index.html'}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
