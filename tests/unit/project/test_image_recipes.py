# SPDX-License-Identifier: Apache-2.0
"""Recipes of images say the same about how they are started; other commands build them."""

from tests.package.images import RECIPES, Start


def test_the_image_for_alpine_is_started_as_that_of_debian() -> None:
    debian, alpine = (Start.of_recipe(RECIPES / name) for name in ("Dockerfile", "Dockerfile.alpine"))

    assert debian == alpine
    assert debian.user == "tidegate"
    assert debian.command[:2] == ["tidegate", "serve"]
