"""Every error Ostiary raises on purpose.

OstiaryError
├── SettingsError            the admin's: which file, line and key, and what was expected
├── ProtocolError
│   ├── LocalProtocolError   ours: we were about to send something a PBX must not get
│   └── RemoteProtocolError  the peer's: it sent something no PBX sends
├── DirectoryError           the local database cannot be read, written or is not what it should be
├── InputError               a value given by a person or a file that cannot be taken as it is
├── NotFoundError            what was asked for is not there
├── ConflictError            it cannot be done as things stand: somebody else was quicker, or it is another's to do
├── AccessError              who asks may not: not logged in, or not allowed to
├── PbxError                 a PBX does not do what was asked over AMI
│   ├── PbxDown              it cannot be reached, or went away; `sent`: it may have done it all the same
│   └── PbxRefusal           it does not let us in, or says no
└── SalesforceError
    ├── SalesforceDown       it cannot be reached, or what answers is not itself: later again
    ├── SalesforceLoginError it does not let us in: an admin must act
    ├── SalesforceLimitError no API calls are left for now
    ├── SalesforceRefusal    it refused this request and says why
    └── SalesforceBusy       another process of this machine exchanges data with it
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


class NotFoundError(OstiaryError):
    """What was asked for is not there, or no longer."""


class ConflictError(OstiaryError):
    """It cannot be done as things stand: somebody else changed it in the meantime, or only another may."""


class AccessError(OstiaryError):
    """Who asks is not known (`known` false: logging in helps) or is not allowed to."""

    def __init__(self, text: str, *, known: bool) -> None:
        super().__init__(text)
        self.known = known


class PbxError(OstiaryError):
    """A PBX did not do what was asked over AMI."""


class PbxDown(PbxError):  # noqa: N818  # a state that passes
    """A PBX cannot be reached, does not answer, or went away; where `sent`, it may have done what was asked."""

    def __init__(self, text: str, *, sent: bool = False) -> None:
        super().__init__(text)
        self.sent = sent


class PbxRefusal(PbxError):  # noqa: N818  # an answer
    """A PBX refused a log-in or an action; the text has its reason."""


class SalesforceError(OstiaryError):
    """Salesforce did not do what was asked."""


class SalesforceDown(SalesforceError):  # noqa: N818  # a state that passes
    """Salesforce cannot be reached, answers with 5xx or with what is no answer of its own; later again."""


class SalesforceLoginError(SalesforceError):
    """Salesforce does not let us in; `code` is its own word for why, e.g. invalid_grant."""

    def __init__(self, text: str, code: str = "") -> None:
        super().__init__(text)
        self.code = code


class SalesforceLimitError(SalesforceError):
    """The org has no API calls left for now (REQUEST_LIMIT_EXCEEDED)."""


class SalesforceRefusal(SalesforceError):  # noqa: N818  # an answer
    """Salesforce refused this request; `code` is the errorCode of its answer, e.g. INVALID_FIELD."""

    def __init__(self, text: str, code: str, fields: tuple[str, ...] = ()) -> None:
        super().__init__(text)
        self.code = code
        self.fields = fields


class SalesforceBusy(SalesforceError):  # noqa: N818  # a state that passes
    """Another process of this state directory exchanges data with Salesforce just now."""
