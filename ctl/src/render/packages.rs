//! Packages for people.

use settled_proto::v1::supported::Distribution;
use settled_proto::v1::{
    CheckPackageResponse, Output, Package, Parameter, ReloadPackagesResponse, Requirement, Supported,
};

use super::table::{self, Style};
use super::text;

/// A list of packages.
pub(crate) fn list(packages: &[Package], wide: bool, style: Style) -> String {
    let mut headings = vec!["name", "summary", "operations"];
    if wide {
        headings.extend(["parameters", "digest"]);
    }
    let rows = packages.iter().map(|p| {
        let operations: Vec<String> = p.operations.iter().map(|o| text::clean(&o.name)).collect();
        let mut row = vec![text::clean(&p.name), text::clean(&p.summary), operations.join(" ")];
        if wide {
            let parameters: Vec<String> = p.parameters.iter().map(|p| text::clean(&p.name)).collect();
            row.push(parameters.join(" "));
            row.push(p.digest.clone());
        }
        row
    });
    table::columns(&headings, rows.collect(), style)
}

/// What a reload has changed.
pub(crate) fn reloaded(answer: &ReloadPackagesResponse) -> String {
    if answer.changed.is_empty() {
        return "The package files say what they said before.".to_owned();
    }
    let names: Vec<_> = answer.changed.iter().map(|name| text::clean(name)).collect();
    format!("New, changed or gone: {}.", names.join(", "))
}

/// One package.
pub(crate) fn show(p: &Package, style: Style) -> String {
    let pairs = vec![
        ("Package", text::clean(&p.name)),
        ("Summary", text::clean(&p.summary)),
        ("Requires", p.requires.iter().map(requirement).collect::<Vec<_>>().join(", ")),
        ("Supports", p.supported.as_ref().map(supported).unwrap_or_default()),
        ("Per server", if p.single { "one at most" } else { "" }.to_owned()),
        ("Digest", p.digest.clone()),
    ];
    let mut parts = vec![table::pairs(pairs, style)];
    if !p.parameters.is_empty() {
        let rows = p.parameters.iter().map(parameter).collect();
        parts.push(table::columns(&["parameter", "type", "default", "", "summary"], rows, style));
    }
    for o in p.operations.iter().filter(|o| !o.parameters.is_empty()) {
        let rows = o.parameters.iter().map(parameter).collect();
        let heading = format!("given with {}", text::clean(&o.name));
        parts.push(table::columns(&[&heading, "type", "default", "", "summary"], rows, style));
    }
    if !p.rules.is_empty() {
        let rules = p.rules.iter().map(|rule| vec![text::clean(rule)]).collect();
        parts.push(table::columns(&["rule"], rules, style));
    }
    if !p.outputs.is_empty() {
        let row = |o: &Output| vec![text::clean(&o.name), text::clean(&o.r#type), text::clean(&o.summary)];
        parts.push(table::columns(
            &["output", "type", "summary"],
            p.outputs.iter().map(row).collect(),
            style,
        ));
    }
    if !p.operations.is_empty() {
        let rows = p.operations.iter().map(|o| {
            let steps: Vec<String> =
                o.steps.iter().enumerate().map(|(i, s)| format!("{}. {}", i + 1, text::clean(s))).collect();
            let beside = if o.exclusive { "" } else { "beside others" };
            vec![text::clean(&o.name), beside.to_owned(), steps.join("\n")]
        });
        parts.push(table::columns(&["operation", "", "steps"], rows.collect(), style));
    }
    parts.push(format!("Install it: settlectl install {} --server SERVER{}", text::clean(&p.name), flags(p)));
    parts.join("\n\n")
}

/// Where it works, in words.
fn supported(s: &Supported) -> String {
    let one = |d: &Distribution| format!("{} {}", d.name, d.versions.join(", ")).trim_end().to_owned();
    let mut parts: Vec<String> = s.distributions.iter().map(one).collect();
    if !s.architectures.is_empty() {
        parts.push(format!("only {}", s.architectures.join(", ")));
    }
    if !s.hint.is_empty() {
        parts.push(format!("elsewhere: {}", s.hint));
    }
    text::clean(&parts.join("; "))
}

fn requirement(r: &Requirement) -> String {
    let package = text::clean(&r.package);
    if r.when.is_empty() { package } else { format!("{package} (when {})", text::clean(&r.when)) }
}

fn parameter(p: &Parameter) -> Vec<String> {
    let mut kind = text::clean(&p.r#type);
    if !p.values.is_empty() {
        kind = text::clean(&p.values.join("|"));
    }
    let mut marks = Vec::new();
    for (is, mark) in [(p.required, "required"), (p.secret, "secret"), (p.key, "unique per server")] {
        if is {
            marks.push(mark);
        }
    }
    let default = p.default_value.as_deref().map(|v| text::short(v, 30)).unwrap_or_default();
    vec![text::clean(&p.name), kind, default, marks.join(", "), text::clean(&p.summary)]
}

/// The flags that an install cannot do without.
fn flags(p: &Package) -> String {
    let needed = p.parameters.iter().filter(|p| p.required);
    needed
        .map(|p| {
            let name = text::clean(&p.name);
            if p.secret { format!(" --secret {name}=@FILE") } else { format!(" --set {name}=...") }
        })
        .collect()
}

/// What is wrong with a definition, one line each, in the form that editors understand.
pub(crate) fn problems(file: &str, r: &CheckPackageResponse) -> String {
    let lines = r.problems.iter().map(|p| {
        let place = if p.line > 0 { format!("{file}:{}", p.line) } else { file.to_owned() };
        let field = if p.field.is_empty() { String::new() } else { format!("{}: ", text::clean(&p.field)) };
        format!("{place}: {field}{}", text::clean(&p.message))
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use settled_proto::v1::check_package_response::Problem;

    use super::*;

    #[test]
    fn the_command_that_installs_it_is_shown() {
        let package = Package {
            name: "site".into(),
            parameters: vec![
                Parameter { name: "port".into(), required: true, ..Parameter::default() },
                Parameter { name: "token".into(), required: true, secret: true, ..Parameter::default() },
                Parameter { name: "note".into(), ..Parameter::default() },
            ],
            ..Package::default()
        };
        let shown = show(&package, Style::default());
        let command = "settlectl install site --server SERVER --set port=... --secret token=@FILE";
        assert!(shown.ends_with(command), "{shown}");
    }

    #[test]
    fn where_it_works_is_told_in_words() {
        let distribution = Distribution { name: "debian".into(), versions: vec!["12".into(), "13".into()] };
        let supported = Supported {
            distributions: vec![distribution, Distribution { name: "ubuntu".into(), versions: Vec::new() }],
            architectures: vec!["x86_64".into()],
            hint: "use mariadb".into(),
        };
        let package = Package { supported: Some(supported), ..Package::default() };
        let words = "debian 12, 13; ubuntu; only x86_64; elsewhere: use mariadb";
        assert!(show(&package, Style::default()).contains(words));
    }

    #[test]
    fn problems_stand_at_their_line() {
        let problem = |line, field: &str| Problem { line, field: field.into(), message: "is missing".into() };
        let response = CheckPackageResponse { problems: vec![problem(3, "name"), problem(0, "")] };
        assert_eq!(problems("a.toml", &response), "a.toml:3: name: is missing\na.toml: is missing");
    }
}
