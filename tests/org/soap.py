"""`login()` of the SOAP API: user name, password and security token, as API versions up to 64.0 know it.

Salesforce: "SOAP API login() retirement": later versions have no such call, and orgs may switch it off.
"""

from __future__ import annotations

import re
from html import escape
from xml.etree import ElementTree as ET

from tests.org.messages import Answer, Request
from tests.org.oauth import LoginError, OAuth

LAST_VERSION = 64
XML = "text/xml;charset=UTF-8"
_PARTNER = "{urn:partner.soap.sforce.com}"
_ENVELOPE = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" {spaces}'
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body>{body}</soapenv:Body></soapenv:Envelope>'
)
_FAULT = (
    "<soapenv:Fault><faultcode>sf:{code}</faultcode><faultstring>{code}: {text}</faultstring><detail>"
    '<sf:{kind} xsi:type="sf:{kind}"><sf:exceptionCode>{code}</sf:exceptionCode>'
    "<sf:exceptionMessage>{text}</sf:exceptionMessage></sf:{kind}></detail></soapenv:Fault>"
)
_RESULT = (
    "<loginResponse><result><metadataServerUrl>{url}/services/Soap/m/{version}/{organization}</metadataServerUrl>"
    "<passwordExpired>false</passwordExpired><sandbox>false</sandbox>"
    "<serverUrl>{url}/services/Soap/u/{version}/{organization}</serverUrl><sessionId>{session}</sessionId>"
    "<userId>{user}</userId><userInfo><organizationId>{organization18}</organizationId>"
    "<sessionSecondsValid>7200</sessionSecondsValid><userId>{user}</userId><userName>{name}</userName></userInfo>"
    "</result></loginResponse>"
)


def login(oauth: OAuth, request: Request) -> Answer:
    """POST /services/Soap/u/NN.0."""
    version = re.fullmatch(r"/services/Soap/u/(\d+\.0)/?", request.path)
    if version is None:
        return _fault("UNSUPPORTED_API_VERSION", "Invalid Api version specified on URL")
    try:
        root = ET.fromstring(request.body)
    except ET.ParseError as error:
        return _fault("UNKNOWN_EXCEPTION", f"Error parsing the request: {error}")
    call = root.find(f".//{_PARTNER}login")
    if float(version[1]) > LAST_VERSION or call is None:
        return _fault("UNKNOWN_EXCEPTION", "No such operation: login")
    if not oauth.soap_login:
        return _fault("INVALID_OPERATION", "SOAP API login() is disabled by default in this org.")
    name = call.findtext(f"{_PARTNER}username") or ""
    secret = call.findtext(f"{_PARTNER}password") or ""
    scope = root.findtext(f".//{_PARTNER}organizationId") or ""
    from_known_address = scope != "" and scope[:15] == oauth.organization[:15]
    right = {oauth.password + oauth.security_token} | ({oauth.password} if from_known_address else set())
    if name != oauth.username or secret not in right:
        oauth.refused["INVALID_LOGIN"] += 1
        return _fault(
            "INVALID_LOGIN", "Invalid username, password, security token; or user locked out.", "LoginFault"
        )
    try:
        session = oauth.open_session("soap")
    except LoginError:
        return _fault("LOGIN_RATE_EXCEEDED", "login rate exceeded", "LoginFault")
    result = _RESULT.format(
        url=oauth.url,
        version=version[1],
        organization=oauth.organization[:15],
        organization18=oauth.organization,
        session=escape(session),
        user=oauth.user,
        name=escape(oauth.username),
    )
    return _envelope(200, 'xmlns="urn:partner.soap.sforce.com" ', result)


def refused(code: str, text: str) -> Answer:
    """Return a fault on command."""
    return _fault(
        code or "INVALID_LOGIN", text or "Invalid username, password, security token; or user locked out."
    )


def _fault(code: str, text: str, kind: str = "UnexpectedErrorFault") -> Answer:
    fault = _FAULT.format(code=code, text=escape(text), kind=kind)
    return _envelope(500, 'xmlns:sf="urn:fault.partner.soap.sforce.com" ', fault)


def _envelope(status: int, spaces: str, body: str) -> Answer:
    return Answer(status, _ENVELOPE.format(spaces=spaces, body=body).encode(), kind=XML)
