//! Dry runs and requirements for people: what would be done, or is done in front.

use jiff::Timestamp;
use settled_proto::v1::{CommandResponse, Run};

use super::table::Style;
use super::{resources, text, verdict};

/// What a command would do.
pub(crate) fn show(answer: &CommandResponse, style: Style, now: Timestamp) -> String {
    let operation = answer.run.as_ref().map(|run| text::clean(&run.operation)).unwrap_or_default();
    let mut parts =
        vec![format!("Nothing was stored and nothing was done. This {operation} would be accepted:")];
    parts.extend(answer.resource.as_ref().map(|r| resources::show(r, style, now)));
    parts.extend(answer.requirements.iter().map(planned));
    parts.extend(answer.run.as_ref().map(planned));
    parts.retain(|part| !part.is_empty());
    parts.join("\n\n")
}

/// `Place 2 in the lane of web1: install of web1/site/a`, and its steps.
fn planned(run: &Run) -> String {
    let what = format!("{} of {}", text::clean(&run.operation), verdict::subject(run));
    let mut lines =
        vec![format!("Place {} in the lane of {}: {what}", run.position, text::clean(&run.server))];
    let given = run.parameters.iter();
    lines.extend(given.map(|(name, value)| format!("  with {name} = {}", text::short(value, 60))));
    let steps = run.step_titles.iter().enumerate();
    lines.extend(steps.map(|(i, title)| format!("  {}. {}", i + 1, text::clean(title))));
    lines.join("\n")
}

/// `install of web1/nginx/nginx, run 01R`
pub(crate) fn required(run: &Run) -> String {
    format!("{} of {}, run {}", text::clean(&run.operation), verdict::subject(run), run.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_shows_what_is_required_its_place_and_its_steps() {
        let run = |package: &str, position, titles: &[&str]| Run {
            server: "web1".into(),
            package: package.into(),
            resource: package.into(),
            operation: "install".into(),
            position,
            step_titles: titles.iter().map(|t| (*t).to_owned()).collect(),
            ..Run::default()
        };
        let answer = CommandResponse {
            resource: None,
            run: Some(run("site", 4, &["Write it", "Try it"])),
            requirements: vec![run("nginx", 3, &["Bring nginx"])],
        };
        assert_eq!(
            show(&answer, Style::default(), Timestamp::UNIX_EPOCH),
            "Nothing was stored and nothing was done. This install would be accepted:\n\n\
             Place 3 in the lane of web1: install of web1/nginx/nginx\n  1. Bring nginx\n\n\
             Place 4 in the lane of web1: install of web1/site/site\n  1. Write it\n  2. Try it"
        );
    }
}
