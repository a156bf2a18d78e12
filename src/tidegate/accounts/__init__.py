# SPDX-License-Identifier: Apache-2.0
"""Rules for names, keys, homes and administrators: one function each, whichever door asks.

`names` says what may be a name and how a typed one is compared, `keys` reads every form of a public key into
the line that is stored, `directories` says which directories of the host may be given out and by whom,
`administrators` keeps one who may do everything. SSH, REST, the command line, imports, loads of dumps,
quickstart and `check` ask these functions and have no rule of their own beside them.

Rules of the room: it knows values (`model`, `errors`) and nothing that runs. What it has to ask (folders,
administrators) comes in as a protocol with one method. What is stored already stays valid: a rule judges what
is new or changed, and a load of a dump gives back what was there, with a remark.
"""
