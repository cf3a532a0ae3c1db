//! What a notice looks like as a mail.

use std::fmt::Write as _;

use crate::domain::notice::Notice;
use crate::engine::Letter;
use crate::outside::Mail;

/// The mail for a notice.
pub(super) fn mail(letter: &Letter, from: &str, to: &[String]) -> Mail {
    let notice = &letter.notice;
    Mail {
        from: from.to_owned(),
        to: to.to_vec(),
        id: letter.id.clone(),
        date: letter.date(),
        event: notice.event.as_str(),
        subject: format!("[settled] {}", notice.text),
        body: body(notice, &letter.date(), &letter.id),
    }
}

fn body(notice: &Notice, date: &str, id: &str) -> String {
    let Notice { event, server, package, resource, operation, run, reason, text, detail } = notice;
    let resource = match (package, resource) {
        (Some(package), Some(resource)) => format!("{server}/{package}/{resource}"),
        _ => String::new(),
    };
    let fields = [
        ("Event", event.to_string()),
        ("When", date.to_owned()),
        ("Server", server.clone()),
        ("Resource", resource.clone()),
        ("Operation", operation.as_ref().map(ToString::to_string).unwrap_or_default()),
        ("Run", run.map(|run| run.to_string()).unwrap_or_default()),
        ("Reason", reason.map(|reason| reason.to_string()).unwrap_or_default()),
    ];
    let mut lines = String::new();
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
        // Writing to a String cannot fail.
        let _infallible = writeln!(lines, "{:<11}{value}", format!("{name}:"));
    }
    let look = match (run, resource.as_str(), server.as_str()) {
        (Some(run), ..) => format!("See more: settlectl run show {run}\n"),
        (None, "", "") => String::new(),
        (None, "", server) => format!("See more: settlectl server show {server}\n"),
        (None, resource, _) => format!("See more: settlectl resource show {resource}\n"),
    };
    let detail = if detail.is_empty() { String::new() } else { format!("{detail}\n\n") };
    format!("{text}\n\n{detail}{lines}\n{look}\nSent by settled as {id}.\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::notice::NoticeEvent;
    use crate::domain::verdict::Reason;

    #[test]
    fn a_mail_tells_what_happened_and_what_to_do_next() {
        let notice = Notice {
            event: NoticeEvent::RunFailed,
            server: "web1".into(),
            package: Some("site".into()),
            resource: Some("shop".into()),
            reason: Some(Reason::Timeout),
            text: "install of web1/site/shop has failed".into(),
            detail: "Write the site: it took too long".into(),
            ..Notice::test("ops")
        };
        let expected = "install of web1/site/shop has failed\n\nWrite the site: it took too long\n\n\
                        Event:     run_failed\nWhen:      today\nServer:    web1\nResource:  web1/site/shop\nReason:    timeout\n\n\
                        See more: settlectl resource show web1/site/shop\n\nSent by settled as 01A.7.5.\n";
        assert_eq!(body(&notice, "today", "01A.7.5"), expected);
        let test = body(&Notice::test("ops"), "today", "01A.7.5");
        assert!(!test.contains("Server") && !test.contains("See more"), "{test}");
    }
}
