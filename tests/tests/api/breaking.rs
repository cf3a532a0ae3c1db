//! The contract as the last release had it, in proto/released/: nothing of it may break. Each rule is shown to find what breaks it.

mod rules;

use std::collections::BTreeSet;
use std::path::PathBuf;

use prost::Message as _;
use prost_types::descriptor_proto::ReservedRange;
use prost_types::enum_descriptor_proto::EnumReservedRange;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto,
    FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto, ServiceDescriptorProto,
};

use self::rules::{Rule, breaks};

/// The package that is promised.
const PACKAGE: &str = "settled.v1";
/// Set to write what is released.
const RELEASE: &str = "SETTLED_RELEASE";

/// The contract as it is, without comments.
fn now() -> FileDescriptorSet {
    let mut set = FileDescriptorSet::decode(settled_proto::DESCRIPTORS).unwrap();
    for file in &mut set.file {
        file.source_code_info = None;
    }
    set
}

#[test]
fn nothing_breaks_that_the_last_release_had() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../proto/released/settled.v1.binpb");
    if std::env::var_os(RELEASE).is_some() {
        std::fs::write(&path, now().encode_to_vec()).unwrap();
    }
    let released = std::fs::read(&path).expect("what was released is kept in proto/released");
    let released = FileDescriptorSet::decode(&released[..]).unwrap();
    assert!(released.file.iter().any(|file| file.package() == PACKAGE && !file.service.is_empty()));
    let broken = breaks(&released, &now());
    assert!(
        broken.is_empty(),
        "clients of the last release would break: {broken:#?}\nAdd beside it instead of changing it; of what is taken away, reserve number and name \
         (docs/api.md, \"What stays\")"
    );
}

/// A small contract that has one of everything.
fn small() -> FileDescriptorSet {
    let field = |name: &str, number, r#type: Type| FieldDescriptorProto {
        name: Some(name.to_owned()),
        json_name: Some(name.to_owned()),
        number: Some(number),
        label: Some(Label::Optional.into()),
        r#type: Some(r#type.into()),
        ..FieldDescriptorProto::default()
    };
    let value = |name: &str, number| EnumValueDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        ..EnumValueDescriptorProto::default()
    };
    let thing = DescriptorProto {
        name: Some("Thing".to_owned()),
        field: vec![
            field("name", 1, Type::String),
            field("size", 2, Type::Int64),
            field("old", 5, Type::Bool),
        ],
        reserved_range: vec![ReservedRange { start: Some(3), end: Some(5) }],
        reserved_name: vec!["weight".to_owned()],
        nested_type: vec![DescriptorProto { name: Some("Part".to_owned()), ..DescriptorProto::default() }],
        ..DescriptorProto::default()
    };
    let color = EnumDescriptorProto {
        name: Some("Color".to_owned()),
        value: vec![value("COLOR_UNSPECIFIED", 0), value("RED", 1)],
        reserved_range: vec![EnumReservedRange { start: Some(2), end: Some(3) }],
        reserved_name: vec!["BLUE".to_owned()],
        ..EnumDescriptorProto::default()
    };
    let watch = MethodDescriptorProto {
        name: Some("Watch".to_owned()),
        input_type: Some(".settled.v1.Thing".to_owned()),
        output_type: Some(".settled.v1.Thing".to_owned()),
        server_streaming: Some(true),
        ..MethodDescriptorProto::default()
    };
    let things = ServiceDescriptorProto {
        name: Some("Things".to_owned()),
        method: vec![watch],
        ..ServiceDescriptorProto::default()
    };
    let file = FileDescriptorProto {
        package: Some(PACKAGE.to_owned()),
        message_type: vec![thing],
        enum_type: vec![color],
        service: vec![things],
        ..FileDescriptorProto::default()
    };
    FileDescriptorSet { file: vec![file] }
}

/// A change of the small contract, and the rule that it breaks.
type Change = (Option<Rule>, fn(&mut FileDescriptorProto));

fn thing(file: &mut FileDescriptorProto) -> &mut DescriptorProto {
    &mut file.message_type[0]
}

fn color(file: &mut FileDescriptorProto) -> &mut EnumDescriptorProto {
    &mut file.enum_type[0]
}

fn watch(file: &mut FileDescriptorProto) -> &mut MethodDescriptorProto {
    &mut file.service[0].method[0]
}

const BREAKING: &[Change] = &[
    (Some(Rule::MessageGone), |file| file.message_type.clear()),
    (Some(Rule::MessageGone), |file| thing(file).nested_type.clear()),
    (Some(Rule::FieldGoneUnreserved), |file| drop(thing(file).field.remove(1))),
    (Some(Rule::FieldGoneUnreserved), |file| {
        thing(file).field.remove(1);
        thing(file).reserved_range.push(ReservedRange { start: Some(2), end: Some(3) });
    }),
    (Some(Rule::FieldGoneUnreserved), |file| {
        thing(file).field.remove(1);
        thing(file).reserved_name.push("size".to_owned());
    }),
    (Some(Rule::FieldGoneUnreserved), |file| thing(file).field[1].number = Some(9)),
    (Some(Rule::FieldName), |file| thing(file).field[1].name = Some("bytes".to_owned())),
    (Some(Rule::FieldJsonName), |file| thing(file).field[1].json_name = Some("Size".to_owned())),
    (Some(Rule::FieldType), |file| thing(file).field[1].set_type(Type::Uint64)),
    (Some(Rule::FieldType), |file| thing(file).field[1].type_name = Some(".settled.v1.Size".to_owned())),
    (Some(Rule::FieldLabel), |file| thing(file).field[1].set_label(Label::Repeated)),
    (Some(Rule::FieldPresence), |file| {
        thing(file).oneof_decl.push(prost_types::OneofDescriptorProto::default());
        thing(file).field[1].proto3_optional = Some(true);
        thing(file).field[1].oneof_index = Some(0);
    }),
    (Some(Rule::FieldOneof), |file| {
        thing(file)
            .oneof_decl
            .push(prost_types::OneofDescriptorProto { name: Some("either".to_owned()), options: None });
        thing(file).field[1].oneof_index = Some(0);
    }),
    (Some(Rule::FieldReserve), |file| thing(file).reserved_range[0].end = Some(4)),
    (Some(Rule::FieldReserve), |file| thing(file).reserved_name.clear()),
    (Some(Rule::EnumGone), |file| file.enum_type.clear()),
    (Some(Rule::ValueGoneUnreserved), |file| drop(color(file).value.remove(1))),
    (Some(Rule::ValueGoneUnreserved), |file| {
        color(file).value.remove(1);
        color(file).reserved_range.push(EnumReservedRange { start: Some(1), end: Some(1) });
    }),
    (Some(Rule::ValueName), |file| color(file).value[1].name = Some("CRIMSON".to_owned())),
    (Some(Rule::ValueReserve), |file| color(file).reserved_range[0].end = Some(2)),
    (Some(Rule::ValueReserve), |file| color(file).reserved_name.clear()),
    (Some(Rule::ServiceGone), |file| file.service.clear()),
    (Some(Rule::ServiceGone), |file| file.service[0].name = Some("Objects".to_owned())),
    (Some(Rule::MethodGone), |file| file.service[0].method.clear()),
    (Some(Rule::MethodRequest), |file| watch(file).input_type = Some(".settled.v1.Other".to_owned())),
    (Some(Rule::MethodResponse), |file| watch(file).output_type = Some(".settled.v1.Other".to_owned())),
    (Some(Rule::MethodStreaming), |file| watch(file).server_streaming = None),
    (Some(Rule::MethodStreaming), |file| watch(file).client_streaming = Some(true)),
];

/// What may be done at any time.
const HARMLESS: &[Change] = &[
    (None, |_| {}),
    (None, |file| {
        file.message_type
            .push(DescriptorProto { name: Some("Other".to_owned()), ..DescriptorProto::default() });
    }),
    (None, |file| {
        let mut new = thing(file).field[0].clone();
        (new.name, new.number) = (Some("color".to_owned()), Some(6));
        thing(file).field.insert(0, new);
    }),
    (None, |file| {
        thing(file).field.remove(1);
        thing(file).reserved_range.push(ReservedRange { start: Some(2), end: Some(3) });
        thing(file).reserved_name.push("size".to_owned());
    }),
    (None, |file| {
        let new = EnumValueDescriptorProto { name: Some("GREEN".to_owned()), number: Some(7), options: None };
        color(file).value.push(new);
    }),
    (None, |file| {
        color(file).value.remove(1);
        color(file).reserved_range.push(EnumReservedRange { start: Some(1), end: Some(1) });
        color(file).reserved_name.push("RED".to_owned());
    }),
    (None, |file| {
        let mut new = watch(file).clone();
        new.name = Some("Get".to_owned());
        file.service[0].method.insert(0, new);
    }),
    (None, |file| {
        file.service.push(ServiceDescriptorProto {
            name: Some("Others".to_owned()),
            ..ServiceDescriptorProto::default()
        });
    }),
];

#[test]
fn every_rule_finds_what_breaks_it_and_additions_break_nothing() {
    let before = small();
    let mut seen = BTreeSet::new();
    for (number, (rule, change)) in BREAKING.iter().chain(HARMLESS).enumerate() {
        let mut now = before.clone();
        change(&mut now.file[0]);
        let found: BTreeSet<Rule> = breaks(&before, &now).into_iter().map(|(rule, _)| rule).collect();
        assert_eq!(found.iter().next(), rule.as_ref(), "change {number}: {found:?}");
        assert!(found.len() <= 1, "change {number}: {found:?}");
        seen.extend(found);
    }
    assert_eq!(seen, BTreeSet::from(Rule::ALL), "a rule that nothing breaks is not shown to find anything");
}

/// What is kept has what the rules look at: a change of the real contract is found, too.
#[test]
fn a_field_that_the_contract_loses_is_found() {
    let (before, mut now) = (now(), now());
    let resources = now.file.iter_mut().find(|file| file.name() == "settled/v1/resources.proto").unwrap();
    let install = resources.message_type.iter_mut().find(|m| m.name() == "InstallRequest").unwrap();
    install.field.retain(|field| field.name() != "package");
    let expected = (Rule::FieldGoneUnreserved, "settled.v1.InstallRequest.package".to_owned());
    assert_eq!(breaks(&before, &now), [expected]);
}
