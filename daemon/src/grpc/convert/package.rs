//! Packages.

use settled_proto::v1;

use crate::catalog::{Definition, OperationDef, OutputDef, Parameter, Requirement, Rule, Supported};

/// A package with its text.
pub(in crate::grpc) fn package(d: &Definition) -> v1::Package {
    v1::Package { source: d.source().to_owned(), ..package_line(d) }
}

/// A package as a list shows it.
pub(in crate::grpc) fn package_line(d: &Definition) -> v1::Package {
    v1::Package {
        name: d.name.clone(),
        summary: d.summary.clone(),
        digest: d.digest.clone(),
        parameters: d.parameters.iter().map(parameter).collect(),
        operations: d.operations.iter().map(|(name, o)| operation(name, o)).collect(),
        supported: d.supported.as_ref().map(supported),
        single: d.single,
        rules: d.rules.iter().map(Rule::in_words).collect(),
        source: String::new(),
        outputs: d.outputs.iter().map(output).collect(),
        requires: d.requires.iter().map(requirement).collect(),
    }
}

fn supported(s: &Supported) -> v1::Supported {
    let distribution = |(name, versions): &(String, Vec<String>)| v1::supported::Distribution {
        name: name.clone(),
        versions: versions.clone(),
    };
    v1::Supported {
        distributions: s.distributions.iter().map(distribution).collect(),
        architectures: s.architectures.clone(),
        hint: s.hint.clone().unwrap_or_default(),
    }
}

fn parameter(p: &Parameter) -> v1::Parameter {
    v1::Parameter {
        name: p.name.clone(),
        summary: p.summary.clone(),
        r#type: p.kind.word().to_owned(),
        required: p.required,
        default_value: p.default.clone(),
        secret: p.secret(),
        key: p.key,
        values: p.values().to_vec(),
    }
}

fn requirement(r: &Requirement) -> v1::Requirement {
    v1::Requirement { package: r.package.clone(), when: r.when_in_words() }
}

fn output(o: &OutputDef) -> v1::Output {
    v1::Output { name: o.name.clone(), summary: o.summary.clone(), r#type: o.kind.word().to_owned() }
}

fn operation(name: &str, o: &OperationDef) -> v1::Operation {
    v1::Operation {
        name: name.to_owned(),
        steps: o.steps.iter().map(|s| s.title.clone()).collect(),
        exclusive: o.exclusive,
        parameters: o.parameters.iter().map(parameter).collect(),
    }
}
