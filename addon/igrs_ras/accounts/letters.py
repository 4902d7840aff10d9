"""The texts of the server's mails: plain, short, without links, since a link in a mail is what phishing looks like."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Letter:
    """Subject and text. The text may hold a code, so it is not in the representation."""

    subject: str
    text: str = field(repr=False)


_MINUTES = "It is good for 10 minutes. Nobody will ever ask you for it."


def sign_in_code(code: str) -> Letter:
    """The second step of a sign-in."""
    return Letter(
        "Your sign-in code",
        f"Your code to sign in is {code}\n\n{_MINUTES}\n\n"
        "If you are not signing in, somebody knows your password: change it.\n",
    )


def verify_code(code: str) -> Letter:
    """A new account's or a changed address."""
    return Letter(
        "Your confirmation code",
        f"Your code to confirm this e-mail address is {code}\n\n{_MINUTES}\n\n"
        "If you did not ask for it, do nothing: no account gets this address.\n",
    )


def has_account() -> Letter:
    """Somebody wants to register an address, or change his to one, that has an account."""
    return Letter(
        "You have an account already",
        "Somebody, perhaps you, wanted to use this e-mail address for an account. You have one already.\n\n"
        "If it was you: sign in with it. A code of your home, or an invitation, can be added there.\n"
        "If it was not you, do nothing: nothing was changed.\n",
    )


def reset_code(code: str) -> Letter:
    """A forgotten password."""
    return Letter(
        "Your code for a new password",
        f"Your code to set a new password is\n\n{code}\n\n{_MINUTES}\n\n"
        "If you did not ask for it, do nothing: your password was not changed.\n",
    )


def password_changed() -> Letter:
    """Tells of a change that a thief would make."""
    return _notice("Your password was changed", "The password of your account was changed.")


def email_changed() -> Letter:
    """To the old address."""
    return _notice(
        "Your e-mail address was changed",
        "Your account has another e-mail address now; this one is no longer used.",
    )


def second_step_added() -> Letter:
    """A second step was added."""
    return _notice(
        "A second step was added", "Signing in to your account takes a new second step now."
    )


def second_step_removed() -> Letter:
    """A second step was removed."""
    return _notice("A second step was removed", "A second step of your account was removed.")


def account_deleted() -> Letter:
    """The account is gone."""
    return _notice(
        "Your account was deleted", "Your account was deleted, with all that was stored of it."
    )


def _notice(subject: str, what: str) -> Letter:
    return Letter(
        subject,
        f"{what}\n\nIf it was not you: ask the owner of your home to remove you there, and set a new password"
        " for your mailbox.\n",
    )
