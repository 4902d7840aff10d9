"""E-mail addresses and display names, in the one form in which they are stored and compared."""

import re
import unicodedata

import idna

from igrs_ras.status import Refused, Status

EMAIL_LENGTH = 254  # RFC 5321: what fits a forward path
NAME_LENGTH = 100

# RFC 5322's dot-atom. Quoted local parts and SMTPUTF8 are left out: hardly any mailbox has one, and both have been
# ways to smuggle something into headers.
_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
# What shows nothing though Unicode does not count it as a control: fillers of Hangul and Braille, and what ignores itself.
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
_JOINERS = "\u200c\u200d"  # they make emoji and Indic and Persian writing what they are

_DOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+")


def email(text: str) -> str:
    """Return an e-mail address as it is stored: lower case, its domain as in the DNS. Raises Refused(MALFORMED).

    Mail providers that tell upper from lower case are gone; people who type theirs differently each day are not.
    """
    text = unicodedata.normalize("NFKC", text).strip()
    local, at, domain = text.rpartition("@")
    try:
        domain = idna.encode(domain.lower(), uts46=True).decode() if domain else ""
    except idna.IDNAError, UnicodeError:
        domain = ""
    found = f"{local.lower()}@{domain}"
    if not at or len(found) > EMAIL_LENGTH or len(local) > 64:
        raise Refused(Status.MALFORMED, "email is no e-mail address")
    if not _LOCAL.fullmatch(local) or not _DOMAIN.fullmatch(domain):
        raise Refused(Status.MALFORMED, "email is no e-mail address")
    return found


def display_name(text: str, field: str = "name") -> str:
    """Return a name for people to read: NFC, one line, 1 to 100 characters. Raises Refused(MALFORMED).

    Characters that show nothing or turn the writing direction could make one name look like another's.
    """
    text = " ".join(unicodedata.normalize("NFC", text).split())
    if not 1 <= len(text) <= NAME_LENGTH:
        raise Refused(Status.MALFORMED, f"{field} must have 1 to {NAME_LENGTH} characters")
    if text.strip(_JOINERS) != text or all(unicodedata.category(c)[0] == "M" for c in text):
        raise Refused(Status.MALFORMED, f"{field} has a character that cannot be shown")
    for character in text:
        kind = unicodedata.category(character)
        if (
            kind in ("Cc", "Cs", "Co", "Cn")
            or (kind == "Cf" and character not in _JOINERS)
            or character in _BLANK
        ):
            raise Refused(Status.MALFORMED, f"{field} has a character that cannot be shown")
    return text
