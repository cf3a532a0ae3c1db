//! Asks a person for a lifecycle, question by question, and puts the answers together as its definition.

use std::fmt::Write as _;
use std::io::BufRead as _;

use crate::errors::Error;
use crate::render::out::remark;

/// Asks on stderr, reads stdin.
pub(crate) fn ask() -> Result<String, Error> {
    dialogue(&mut |question| answer(question))
}

/// Whether a question is answered with yes.
pub(crate) fn confirm(question: &str) -> Result<bool, Error> {
    Ok(matches!(answer(&format!("{question} [y/N]"))?.as_str(), "y" | "Y" | "yes"))
}

fn answer(question: &str) -> Result<String, Error> {
    remark(question);
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    match read {
        Ok(0) => Err(Error::usage("The input ended before all questions were answered.".to_owned())),
        Ok(_) => Ok(line.trim().to_owned()),
        Err(error) => Err(Error::usage(format!("The answer cannot be read: {error}."))),
    }
}

/// A definition out of answers. What they are worth the daemon tells.
fn dialogue(ask: &mut impl FnMut(&str) -> Result<String, Error>) -> Result<String, Error> {
    let code = ask("Code, for instance server-onboarding:")?;
    let name = ask("Name, for people:")?;
    let mut text = format!("code = {}\nname = {}\n", quoted(&code), quoted(&name));
    for (key, question) in [
        ("starts_at", "Not before which time, like 2026-03-01T00:00:00Z (empty: now)?"),
        ("ends_at", "Not after which time (empty: no end)?"),
    ] {
        let at = ask(question)?;
        if !at.is_empty() {
            line(&mut text, &format!("{key} = {}", quoted(&at)));
        }
    }
    if ask("Worked off by the daemon (cron), or only by 'settlectl lifecycle run' (hand)? [cron]")? == "hand"
    {
        line(&mut text, "activation = \"hand\"");
    }
    loop {
        let name = ask("Name of the next stage (empty: that was all):")?;
        if name.is_empty() {
            return Ok(text);
        }
        stage(&mut text, &name, ask)?;
    }
}

fn stage(
    text: &mut String,
    name: &str,
    ask: &mut impl FnMut(&str) -> Result<String, Error>,
) -> Result<(), Error> {
    line(text, &format!("\n[[stages]]\nname = {}", quoted(name)));
    let gate = ask("What must hold before it begins, for instance server.reach == 'ok' (empty: nothing)?")?;
    if !gate.is_empty() {
        line(text, &format!("gate = {{ when = {} }}", quoted(&gate)));
    }
    line(text, "[stages.action]");
    match ask("What does it do: operation, script, approval or work?")?.as_str() {
        "script" => line(text, &format!("script = {}", quoted(&ask("The script, one line:")?))),
        "approval" => line(text, &format!("approval = {}", quoted(&ask("What is asked?")?))),
        "work" => line(text, &format!("work = {}", quoted(&ask("Name of the queue:")?))),
        _ => {
            let operation = ask("Which operation, for instance install?")?;
            let package = ask("Of which package?")?;
            line(text, &format!("operation = {}\npackage = {}", quoted(&operation), quoted(&package)));
        }
    }
    Ok(())
}

fn line(text: &mut String, line: &str) {
    // Writing to a String cannot fail.
    let _infallible = writeln!(text, "{line}");
}

/// A text of TOML.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_become_a_definition() {
        let answers = [
            "trial",
            "A \"trial\"",
            "2026-03-01T00:00:00Z",
            "",
            "hand",
            "check",
            "payload.paid",
            "script",
            "echo ok",
            "ask",
            "",
            "approval",
            "Go on?",
            "put",
            "",
            "operation",
            "install",
            "nginx",
            "",
        ];
        let mut answers = answers.into_iter();
        let text = dialogue(&mut |_| Ok(answers.next().unwrap().to_owned()))
            .unwrap_or_else(|e| panic!("{:?}", e.lines));
        let expected = "\
code = \"trial\"
name = \"A \\\"trial\\\"\"
starts_at = \"2026-03-01T00:00:00Z\"
activation = \"hand\"

[[stages]]
name = \"check\"
gate = { when = \"payload.paid\" }
[stages.action]
script = \"echo ok\"

[[stages]]
name = \"ask\"
[stages.action]
approval = \"Go on?\"

[[stages]]
name = \"put\"
[stages.action]
operation = \"install\"
package = \"nginx\"
";
        assert_eq!(text, expected);
    }
}
