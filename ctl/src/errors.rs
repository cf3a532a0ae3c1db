//! What went wrong, for people: which exit code it is, one sentence, one line per detail, and what to do next.
//! The only place that knows gRPC codes. It never prints.

use std::error::Error as _;
use std::process::ExitCode;

use tonic::{Code, Status};
use tonic_types::{PreconditionViolation, StatusExt as _};

use crate::connect::refused_by_daemon;
use crate::render::text;

/// How `settlectl` ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// The work failed, or the daemon did.
    Failed = 1,
    /// The command line or a value in it is wrong.
    Usage = 2,
    /// The daemon cannot be reached.
    Unreachable = 3,
    /// The daemon understood and refused.
    Refused = 4,
    /// Ctrl-C ended the waiting.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// An end before the command was done.
#[derive(Debug)]
pub(crate) struct Error {
    /// The exit code.
    pub(crate) exit: Exit,
    /// What happened and what to do next: a headline, then details. Empty: there is nothing to say.
    pub(crate) lines: Vec<String>,
}

impl Error {
    /// The person typed something that cannot be meant.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, lines: vec![message.into()] }
    }

    /// The daemon cannot be reached: what happened, and what to do next.
    pub(crate) fn unreachable(message: impl Into<String>, next: impl Into<String>) -> Self {
        Self { exit: Exit::Unreachable, lines: vec![message.into(), next.into()] }
    }

    /// The reader of our output went away (`| head`). That is no error of anyone.
    pub(crate) fn reader_gone() -> Self {
        Self { exit: Exit::Done, lines: Vec::new() }
    }

    /// The output cannot be written: the disk is full, for instance.
    pub(crate) fn output(error: &std::io::Error) -> Self {
        Self { exit: Exit::Failed, lines: vec![format!("The output cannot be written: {error}.")] }
    }

    /// An answer that breaks the contract.
    pub(crate) fn contract(what: &str) -> Self {
        let line =
            format!("The daemon's answer lacks {what}. Are settled and settlectl of the same version?");
        Self { exit: Exit::Failed, lines: vec![line] }
    }

    /// Adds a line about what to do next.
    pub(crate) fn hint(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// What the daemon answered instead of a result. `command` is the group that was typed, for the names of flags.
    pub(crate) fn from_status(status: &Status, command: &str) -> Self {
        let exit = exit_of(status);
        let violations = status.get_error_details().bad_request().map_or(0, |bad| bad.field_violations.len());
        let headline = match violations {
            0 => Some(headline(status, exit)),
            // The daemon's sentence names the fields by their wire names; the lines below by what was typed.
            1 => None,
            n => Some(format!("{n} values cannot be used:")),
        };
        let mut lines: Vec<_> = headline.into_iter().chain(details(status, command)).collect();
        lines.extend(next_step(status).map(str::to_owned));
        Self { exit, lines }
    }
}

/// Whether no answer came in the time that was given.
pub(crate) fn timed_out(status: &Status) -> bool {
    status.code() == Code::DeadlineExceeded
        || causes(status).any(<dyn std::error::Error>::is::<tonic::TimeoutExpired>)
}

/// What lies behind an error, outermost first. A status that the daemon sent has nothing behind it.
pub(crate) fn causes(
    error: &(impl std::error::Error + 'static),
) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(error.source(), |&cause| cause.source())
}

/// Whether the transport failed, not the daemon: then nobody knows whether the request arrived.
pub(crate) fn is_transient(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable => true,
        // A status made on this side of the wire has a source; one that the daemon sent has none.
        Code::Unknown | Code::Internal | Code::Cancelled => status.source().is_some(),
        _ => false,
    }
}

/// The exit code for an answer.
pub(crate) fn exit_of(status: &Status) -> Exit {
    if is_transient(status) {
        return Exit::Unreachable;
    }
    match status.code() {
        Code::Ok => Exit::Done,
        Code::InvalidArgument => Exit::Usage,
        Code::DeadlineExceeded => Exit::Unreachable,
        Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::FailedPrecondition
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::OutOfRange => Exit::Refused,
        _ => Exit::Failed,
    }
}

fn headline(status: &Status, exit: Exit) -> String {
    let message = text::clean(status.message());
    match (exit, message.is_empty()) {
        (Exit::Unreachable, _) if timed_out(status) => "settled did not answer in time.".to_owned(),
        (Exit::Unreachable, _) if causes(status).find_map(refused_by_daemon).is_some() => {
            let why = causes(status).find_map(refused_by_daemon).unwrap_or_default();
            format!("settled does not let you in: {why}.")
        }
        (Exit::Unreachable, _) if status.source().is_some() => {
            format!("The connection to settled broke: {}.", root_cause(status))
        }
        (_, false) => message,
        (_, true) => format!("The daemon answered {:?} and did not say why.", status.code()),
    }
}

/// The innermost error says what happened; those around it only who passed it on.
fn root_cause(status: &Status) -> String {
    text::clean(&causes(status).last().map_or_else(|| status.message().to_owned(), ToString::to_string))
}

/// One line per `google.rpc` detail.
fn details(status: &Status, command: &str) -> Vec<String> {
    let details = status.get_error_details();
    let mut lines = Vec::new();
    if let Some(bad) = details.bad_request() {
        for v in &bad.field_violations {
            lines.push(format!("{}: {}", flag_of(&v.field, command), text::clean(&v.description)));
        }
    }
    if let Some(failure) = details.precondition_failure() {
        // What the sentence says already is not said again.
        let said = |v: &&PreconditionViolation| {
            v.r#type == "REQUIREMENT" && status.message().contains(&v.description)
        };
        for v in failure.violations.iter().filter(|v| !said(v)) {
            lines.push(join_colon(&v.subject, &v.description));
        }
    }
    if let Some(failure) = details.quota_failure() {
        // What the sentence says already is not said again.
        for v in failure.violations.iter().filter(|v| !status.message().contains(&v.description)) {
            lines.push(join_colon(&v.subject, &v.description));
        }
    }
    if let Some(info) = details.resource_info() {
        if status.code() == Code::NotFound {
            lines.extend(list_of(&info.resource_type).map(|list| format!("See which there are: {list}")));
        } else {
            let name = format!("{} {}", info.resource_type, info.resource_name);
            lines.push(join_colon(name.trim(), &info.description));
        }
    }
    if let Some(delay) = details.retry_info().and_then(|r| r.retry_delay) {
        lines.push(format!("Try again in {} s.", delay.as_secs().max(1)));
    }
    lines.retain(|line| !line.is_empty());
    lines
}

/// The command that lists what there is of a kind. What is missing was named by the sentence.
fn list_of(kind: &str) -> Option<String> {
    match kind {
        "server" | "resource" | "run" | "package" | "schedule" | "lifecycle" | "enrollment" | "notifier"
        | "token" => Some(format!("settlectl {kind} list")),
        "audit entry" => Some("settlectl audit list".to_owned()),
        _ => None,
    }
}

fn join_colon(subject: &str, description: &str) -> String {
    match (subject.is_empty(), description.is_empty()) {
        (false, false) => text::clean(&format!("{subject}: {description}")),
        _ => text::clean(&format!("{subject}{description}")),
    }
}

/// What the person typed for a field of the request.
#[expect(clippy::match_same_arms, reason = "a table by command, where the first line that fits counts")]
pub(crate) fn flag_of(field: &str, command: &str) -> String {
    // What a schedule does and what a watch shows are messages of their own; on the command line all flags stand side by side.
    let inner = ["target.operation.", "target.enrollment.", "filters."].iter();
    let field = inner.fold(field, |field, outer| field.strip_prefix(outer).unwrap_or(field));
    let (head, key) = field.split_once('.').unwrap_or((field, ""));
    let flag = match (head, command) {
        ("parameters", _) => return format!("--set {key}").trim_end().to_owned(),
        ("secrets", _) => return format!("--secret {key}").trim_end().to_owned(),
        ("labels", _) => return format!("--label {key}").trim_end().to_owned(),
        ("server" | "servers", "watch" | "schedule") => "--server",
        ("resource" | "resources", "watch" | "schedule") => "--resource",
        ("operation", "schedule") => "--do",
        ("lifecycle", "schedule") => "--enroll",
        ("package", "schedule" | "watch") => "--package",
        ("name" | "schedule", "schedule") => "NAME",
        ("cron", "schedule") => "CRON",
        ("subject" | "subjects", "schedule") => "--subject",
        ("jitter_s", _) => "--jitter",
        ("missed_within_s", _) => "--missed-within",
        ("starts_at", "schedule") => "--starts",
        ("ends_at", "schedule") => "--ends",
        ("enrollment", "enrollment") => "ENROLLMENT",
        ("lifecycle", "enroll") => "LIFECYCLE",
        ("subject", "enroll") => "SUBJECT",
        ("lifecycle" | "subject" | "stage" | "note", "enrollment") => return format!("--{head}"),
        ("due_before", "enrollment") => "--due-before",
        ("code", "lifecycle") => "CODE",
        ("mapping", "lifecycle") => "--map",
        ("seq", "audit") => "NUMBER",
        ("name" | "server", "server") | ("name", "token" | "notifier") => "NAME",
        ("name", _) => "--name",
        ("server", _) => "--server",
        ("host", "server") => "HOST",
        ("port", "server") => "PORT",
        ("user", "server") => "--user",
        ("host_key", "server") => "--host-key",
        ("identity_key", "server") => "--identity",
        ("identity", "server") => "--installation-identity",
        ("time_zone", _) => "--time-zone",
        ("windows", "server") => "--window",
        ("set_labels", "server") => "--label",
        ("remove_labels", "server") => "--unlabel",
        ("resource", "run") | ("resource_id", _) => "--resource",
        ("resource", _) => "RESOURCE",
        ("via" | "reason", "server") => return format!("--{head}"),
        ("run_id", "watch") => "--run",
        ("run_id", _) => "RUN",
        ("package", "resource") | ("packages", "notifier") => "--package",
        ("package", _) => "PACKAGE",
        ("operation", _) => "OPERATION",
        ("source", _) => "FILE",
        ("since" | "start", _) => "--since",
        ("queue_limit_s", _) => "--queue-limit",
        ("priority", _) => "--priority",
        ("request_id", _) => "--request-id",
        ("page_token", _) => "--page-token",
        ("page_size", _) => "--limit",
        ("kinds", _) => "--kind",
        ("token", "token") => "TOKEN",
        ("notifier", "notifier") => "NOTIFIER",
        ("secret", "notifier") => "--secret-file",
        ("recipients", "notifier") => "--mail",
        ("events", "notifier") => "--event",
        (
            "status" | "state" | "outcome" | "role" | "days" | "scope" | "payload" | "overlap" | "missed"
            | "freshness" | "until" | "verb" | "result",
            _,
        )
        | ("url" | "plain", "notifier") => {
            return format!("--{head}");
        }
        _ => return text::clean(field),
    };
    flag.to_owned()
}

/// What to do about an answer, where its code alone tells it.
fn next_step(status: &Status) -> Option<&'static str> {
    match status.code() {
        Code::Unauthenticated => {
            Some("Say who you are: --token-file FILE (SETTLECTL_TOKEN_FILE), or --cert FILE --key FILE")
        }
        Code::Unimplemented => Some("This settled does not know the command: is it older than settlectl?"),
        Code::Internal | Code::Unknown | Code::DataLoss if status.source().is_none() => {
            Some("This is a fault in settled. Its log tells more: journalctl -u settled")
        }
        // A daemon that said so itself runs, and its sentence tells what to do.
        Code::Unavailable if status.source().is_none() => None,
        Code::DeadlineExceeded => Some("Look how it is: settlectl status"),
        _ if is_transient(status) => Some("Look whether it runs: systemctl status settled"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::{ErrorDetails, FieldViolation};

    use super::*;

    #[test]
    fn every_code_has_its_exit() {
        let table = [
            (Code::InvalidArgument, Exit::Usage),
            (Code::NotFound, Exit::Refused),
            (Code::AlreadyExists, Exit::Refused),
            (Code::PermissionDenied, Exit::Refused),
            (Code::Unauthenticated, Exit::Refused),
            (Code::FailedPrecondition, Exit::Refused),
            (Code::ResourceExhausted, Exit::Refused),
            (Code::Aborted, Exit::Refused),
            (Code::OutOfRange, Exit::Refused),
            (Code::Unavailable, Exit::Unreachable),
            (Code::DeadlineExceeded, Exit::Unreachable),
            (Code::Internal, Exit::Failed),
            (Code::Unknown, Exit::Failed),
            (Code::Unimplemented, Exit::Failed),
            (Code::Cancelled, Exit::Failed),
            (Code::DataLoss, Exit::Failed),
        ];
        for (code, exit) in table {
            assert_eq!(exit_of(&Status::new(code, "x")), exit, "{code:?}");
        }
    }

    #[test]
    fn a_broken_wire_is_not_a_fault_of_the_daemon() {
        let broken = Status::from_error(Box::new(std::io::Error::other("reset by peer")));
        assert!(is_transient(&broken));
        let error = Error::from_status(&broken, "run");
        assert_eq!(error.exit, Exit::Unreachable);
        assert_eq!(error.lines[0], "The connection to settled broke: reset by peer.");
        assert!(!is_transient(&Status::unknown("said by the daemon")));
        let silent = Status::from_error(Box::new(tonic::TimeoutExpired(())));
        assert!(timed_out(&silent) && !timed_out(&broken));
        assert_eq!(Error::from_status(&silent, "run").lines[0], "settled did not answer in time.");
    }

    #[test]
    fn a_full_disk_is_one_sentence_and_a_certain_refusal() {
        let message = "the daemon's disk is full: free space in /var/lib/settled; nothing was stored";
        let details = ErrorDetails::with_quota_failure_violation("disk", "the daemon's disk is full");
        let error = Error::from_status(
            &Status::with_error_details(Code::ResourceExhausted, message, details),
            "install",
        );
        assert_eq!((error.exit, error.lines), (Exit::Refused, vec![message.to_owned()]));
    }

    #[test]
    fn what_to_do_next_is_true() {
        let next = |status: &Status| next_step(status).unwrap_or_default();
        assert_eq!(next(&Status::unavailable("the daemon is stopping: connect again")), "");
        let broken = Status::from_error(Box::new(std::io::Error::other("reset by peer")));
        assert!(next(&broken).contains("systemctl status settled"));
        assert!(next(&Status::deadline_exceeded("")).contains("settlectl status"));
        assert!(next(&Status::internal("a fault")).contains("journalctl -u settled"));
        assert_eq!(
            next(&Status::permission_denied("ask whoever gave you the token")),
            "",
            "the daemon tells"
        );
        assert_eq!(next(&Status::invalid_argument("port")), "");
    }

    #[test]
    fn fields_are_named_as_they_were_typed() {
        let table = [
            ("parameters.port", "install", "--set port"),
            ("parameters", "install", "--set"),
            ("secrets.token", "update", "--secret token"),
            ("labels.site", "server", "--label site"),
            ("name", "server", "NAME"),
            ("name", "install", "--name"),
            ("server", "install", "--server"),
            ("server", "server", "NAME"),
            ("host_key", "server", "--host-key"),
            ("identity_key", "server", "--identity"),
            ("queue_limit_s", "install", "--queue-limit"),
            ("priority", "update", "--priority"),
            ("recipients", "notifier", "--mail"),
            ("secret", "notifier", "--secret-file"),
            ("resource", "update", "RESOURCE"),
            ("resource_id", "run", "--resource"),
            ("status", "resource", "--status"),
            ("kinds", "watch", "--kind"),
            ("cron", "schedule", "CRON"),
            ("jitter_s", "schedule", "--jitter"),
            ("target.operation.operation", "schedule", "--do"),
            ("target.operation.servers", "schedule", "--server"),
            ("target.operation.labels", "schedule", "--label"),
            ("target.operation.resources", "schedule", "--resource"),
            ("target.operation.parameters.port", "schedule", "--set port"),
            ("target.operation.package", "schedule", "--package"),
            ("target.enrollment.lifecycle", "schedule", "--enroll"),
            ("target.enrollment.subjects", "schedule", "--subject"),
            ("filters.labels", "watch", "--label"),
            ("filters.server", "watch", "--server"),
            ("filters.kinds", "watch", "--kind"),
            ("via", "server", "--via"),
            ("seq", "audit", "NUMBER"),
            ("enrollment", "enrollment", "ENROLLMENT"),
            ("packages", "notifier", "--package"),
            ("events", "notifier", "--event"),
            ("something.else", "watch", "something.else"),
        ];
        for (field, command, flag) in table {
            assert_eq!(flag_of(field, command), flag, "{field} of {command}");
        }
    }

    #[test]
    fn violations_are_one_line_each() {
        let details = ErrorDetails::with_bad_request(vec![
            FieldViolation::new("parameters.port", "must be 1 to 65535"),
            FieldViolation::new("name", "is too long"),
        ]);
        let status = Status::with_error_details(Code::InvalidArgument, "2 fields are wrong.", details);
        let error = Error::from_status(&status, "install");
        assert_eq!(error.exit, Exit::Usage);
        assert_eq!(
            error.lines,
            ["2 values cannot be used:", "--set port: must be 1 to 65535", "--name: is too long"]
        );
        let one = ErrorDetails::with_bad_request(vec![FieldViolation::new("name", "is too long")]);
        let status = Status::with_error_details(Code::InvalidArgument, "name: is too long", one);
        assert_eq!(Error::from_status(&status, "install").lines, ["--name: is too long"], "said once");
    }

    #[test]
    fn what_is_not_there_is_said_once_with_the_list_of_what_is() {
        let details = ErrorDetails::with_resource_info("server", "nope", "", "");
        let status = Status::with_error_details(Code::NotFound, "there is no server `nope`", details);
        let error = Error::from_status(&status, "server");
        assert_eq!(error.lines, ["there is no server `nope`", "See which there are: settlectl server list"]);
    }

    #[test]
    fn the_thing_in_the_way_is_named() {
        let mut details = ErrorDetails::with_resource_info("run", "01RUN", "", "update, running");
        details.add_precondition_failure_violation("busy", "web1/site/a", "another run is open");
        let status = Status::with_error_details(Code::FailedPrecondition, "Not now.", details);
        let error = Error::from_status(&status, "update");
        assert_eq!(
            error.lines,
            ["Not now.", "web1/site/a: another run is open", "run 01RUN: update, running"]
        );
        assert_eq!(error.exit, Exit::Refused);
    }
}
