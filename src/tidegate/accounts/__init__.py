# SPDX-License-Identifier: Apache-2.0
"""The one administration service, and the rules on names, keys, homes and administrators that it applies.

`administration.Administration` has the verbs on every kind of record: `users`, `folders`, `admins`,
`api_keys`, and `loads` for dumps and imports. REST, pages, the command line, quickstart, the first
administrator and hooks call it and hold no rule of their own. A verb checks the actor's rights, the
document, directories, strength of passwords and the version, stores, and does what follows: closes
connections of whoever may not stay, revokes tokens, and emits one `events.kinds.Administered`.

Rules, one function each, whichever door asks: `names` says what may be a name and how a typed one is
compared, `keys` reads every form of a public key into the line that is stored, `directories` says which
directories of the host may be given out and by whom, `administrators` keeps one who may do everything.

Rules of the room: it knows values (`model`, `errors`), the store's contract and documents, hashing of
`identity`, `policy` and kinds of events. It knows no protocol, no vfs, no running server: what it needs of
one comes in as small protocols (`needs`), with stand-ins for where no server runs. What is stored already
stays valid: a rule judges what is new or changed, and a load of a dump gives back what was there, with a
remark.
"""
