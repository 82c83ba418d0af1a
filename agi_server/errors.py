"""Every error Ostiary raises on purpose.

OstiaryError
├── SettingsError            the admin's: which file, line and key, and what was expected
├── ProtocolError
│   ├── LocalProtocolError   ours: we were about to send something a PBX must not get
│   └── RemoteProtocolError  the peer's: it sent something no PBX sends
├── DirectoryError           the local database cannot be read, written or is not what it should be
└── InputError               a value given by a person or a file that cannot be taken as it is
"""


class OstiaryError(Exception):
    """Base of all errors that Ostiary raises on purpose; the text says what, where and how to mend it."""


class SettingsError(OstiaryError):
    """A setting is unknown, missing or of the wrong type."""


class ProtocolError(OstiaryError):
    """The AGI dialogue cannot go on."""


class LocalProtocolError(ProtocolError):
    """We were about to send something that a PBX must not get."""


class RemoteProtocolError(ProtocolError):
    """The peer sent something that no PBX sends."""


class DirectoryError(OstiaryError):
    """The local database cannot be read or written, or is not what it should be."""


class InputError(OstiaryError):
    """A value given by a person or a file cannot be taken as it is."""
