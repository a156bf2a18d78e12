# SPDX-License-Identifier: Apache-2.0
"""SSH: listening, host keys, authentication, channels; what runs in a channel is another door's dialogue."""
