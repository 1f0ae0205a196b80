"""The codes of what was asked and cannot be read, or makes no sense: 400."""

from __future__ import annotations

from typing import Final

from api.body import TooSlow
from api.code import SHOWN, Code
from heroctl.domain.errors import Conflict, Invalid, Unavailable

ASKED: Final[dict[str, Code]] = {
    # 400: what was asked
    "invalid_request": Code(Invalid, "The request is no HTTP that makes sense here.", "See `message`."),
    "invalid_query": Code(
        Invalid,
        "The query string cannot be read, holds a name twice, or more than 20 names.",
        "Escape it as UTF-8, and give each name once.",
    ),
    "unknown_parameter": Code(
        Invalid,
        "This route has no parameter of that name. Passing over a filter would answer another question.",
        "`details` lists those that it has.",
    ),
    "invalid_index": Code(Invalid, "An index is not a whole number, 0 or more.", "Give one that an answer gave you."),
    "invalid_topic": Code(
        Invalid, "More topics or types are asked for than one may.", "Ask for fewer, or for a kind such as `job`."
    ),
    "invalid_tail": Code(Invalid, "`tail` is not a whole number that is allowed here.", SHOWN),
    "invalid_since": Code(
        Invalid, "`since` is no time.", "Give a time such as `2026-03-01T12:00:00Z`, or so long ago: `10m`."
    ),
    "invalid_output": Code(Invalid, "`output` is none of the two.", "Say `output=stdout` or `output=stderr`."),
    "invalid_grep": Code(Invalid, "`grep` is too long.", "Look for less text."),
    "logs_unavailable": Code(
        Unavailable, "What workloads write cannot be read: Redis is away, or the cluster has none.", "Try again later."
    ),
    "invalid_stream": Code(Invalid, "`stream` is not true or false.", "Say `stream=true`, or leave it out."),
    "invalid_wait": Code(Invalid, "`wait` is not a duration.", "Give one such as `30s` or `5m`."),
    "invalid_at": Code(
        Invalid,
        "`at` is no moment, lies before the log or ahead of it, or stands beside `index` or `wait`.",
        "Give an index, a time such as `2026-03-01T12:00:00Z`, or `-1h`.",
    ),
    "invalid_dry_run": Code(Invalid, "`dry_run` is neither `true` nor `false`.", "Give one of them, or leave it out."),
    "invalid_after": Code(Invalid, "`after` is not a whole number, 0 or more.", "Give an index of the log."),
    "invalid_limit": Code(Invalid, "`limit` is not a whole number that is allowed here.", SHOWN),
    "invalid_cursor": Code(
        Invalid, "`cursor` is none of this list with these filters.", "Begin without one, and keep the filters after."
    ),
    "invalid_from": Code(
        Invalid,
        "`from` is no time, or, where versions are compared, no number.",
        "Give a time such as `2026-03-01T12:00:00Z`, or `-1h`; or a version.",
    ),
    "invalid_to": Code(
        Invalid,
        "`to` is no time, or, where versions are compared, no number.",
        "Give a time such as `2026-03-01T12:00:00Z`, or `-1h`; or a version.",
    ),
    "invalid_alert": Code(Invalid, "Something of an alert cannot be judged.", SHOWN),
    "too_many_alerts": Code(Conflict, "A namespace has as many alerts as it may.", "Delete one first."),
    "invalid_metric": Code(
        Invalid, "`metric` is missing, or nothing that is measured of these things.", "`message` lists what is."
    ),
    "invalid_step": Code(Invalid, "`step` is not a duration of 1 s to 31 days.", "Give one such as `1m`."),
    "invalid_aggregation": Code(Invalid, "`aggregation` is neither `avg` nor `max`.", "Give one of them."),
    "invalid_group": Code(Invalid, "`group` is nothing that series are put together by.", SHOWN),
    "invalid_format": Code(Invalid, "`format` is neither `json` nor `prometheus`.", "Give one of them."),
    "too_many_points": Code(
        Invalid, "The answer would hold more points than is allowed.", "Take a longer `step`, or a shorter time."
    ),
    "invalid_version": Code(Invalid, "`version` is not a whole number.", "Give one of the versions that are listed."),
    "invalid_force": Code(Invalid, "`force` is neither `true` nor `false`.", "Give one of them, or leave it out."),
    "invalid_outcome": Code(
        Invalid, "`outcome` is neither `done` nor `refused`.", "Give one of them, or leave it out."
    ),
    "invalid_check_index": Code(
        Invalid, "`check_index` is not a whole number, 0 or more.", "Give the `spec_index` that you have seen."
    ),
    "invalid_idempotency_key": Code(
        Invalid,
        "The idempotency key is empty, too long, holds control characters, or there are two.",
        "Send one of 1 to 255 characters.",
    ),
    # 400: the body
    "invalid_json": Code(
        Invalid, "The body is not JSON in UTF-8; `NaN` and `Infinity` are not JSON.", "`message` says where it ends."
    ),
    "invalid_yaml": Code(
        Invalid,
        "The body is not one YAML document of what JSON can say; aliases and tags are not taken.",
        "`message` names line and column.",
    ),
    "duplicate_key": Code(Invalid, "A key stands twice in one object.", "Keep one: nobody can know which was meant."),
    "too_deep": Code(Invalid, "The body is nested deeper than 32 levels.", "Nothing that is taken here is."),
    "invalid_body": Code(Invalid, "A field is missing, unknown, or has a value that it cannot have.", SHOWN),
    "invalid_spec": Code(
        Invalid, "The job spec is not valid.", "`details` holds everything that is wrong, each with its path."
    ),
    "unsupported_encoding": Code(Invalid, "The body is compressed.", "Send it as it is."),
    "body_timeout": Code(
        TooSlow, "The body came too slowly, or not at all.", "Send 1 KiB/s at least, and all of it within 30 s."
    ),
    "body_cut_off": Code(Invalid, "The connection ended before the body did.", "Send it again."),
    "not_a_session": Code(
        Invalid, "The token was not made by a login, so that there is no session.", "Delete the ACL token to end it."
    ),
}
