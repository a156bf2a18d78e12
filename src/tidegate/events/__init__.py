# SPDX-License-Identifier: Apache-2.0
"""Events: frozen kinds, a bounded bus, an outbox, and sinks that take them.

Rules of this room: imports `model`, `abc`, `errors`, and of `logs` the way to a line; events never hold a
secret; the room does not know who emitted an event. Emitting never blocks and never fails the emitter;
recording waits for the data provider.
"""
