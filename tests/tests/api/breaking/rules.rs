//! What breaks clients of a contract: what was there and is not any more, or is something else now. What is new breaks nobody.
//!
//! The rules are those of `buf breaking` (its category `WIRE_JSON`), and the names of methods and types, which stand in paths and in reflection.

use std::collections::BTreeMap;

use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet, MethodDescriptorProto,
    ServiceDescriptorProto,
};

/// A rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rule {
    /// A message is not there any more.
    MessageGone,
    /// A field is not there any more, and its number or its name could be given to another.
    FieldGoneUnreserved,
    /// A number has a field of another name.
    FieldName,
    /// A field has another name in JSON.
    FieldJsonName,
    /// A field has another type.
    FieldType,
    /// A field is repeated that was not, or the other way round.
    FieldLabel,
    /// Whether a field can be told absent has changed.
    FieldPresence,
    /// A field has come into a `oneof`, or out of one.
    FieldOneof,
    /// What was reserved in a message is free again.
    FieldReserve,
    /// An enum is not there any more.
    EnumGone,
    /// A value is not there any more, and its number or its name could be given to another.
    ValueGoneUnreserved,
    /// A number has a value of another name.
    ValueName,
    /// What was reserved in an enum is free again.
    ValueReserve,
    /// A service is not there any more.
    ServiceGone,
    /// A method is not there any more.
    MethodGone,
    /// A method takes another message.
    MethodRequest,
    /// A method answers with another message.
    MethodResponse,
    /// A method takes or answers with a stream, and did not, or the other way round.
    MethodStreaming,
}

impl Rule {
    /// All of them.
    pub(super) const ALL: [Self; 18] = [
        Self::MessageGone,
        Self::FieldGoneUnreserved,
        Self::FieldName,
        Self::FieldJsonName,
        Self::FieldType,
        Self::FieldLabel,
        Self::FieldPresence,
        Self::FieldOneof,
        Self::FieldReserve,
        Self::EnumGone,
        Self::ValueGoneUnreserved,
        Self::ValueName,
        Self::ValueReserve,
        Self::ServiceGone,
        Self::MethodGone,
        Self::MethodRequest,
        Self::MethodResponse,
        Self::MethodStreaming,
    ];
}

/// A rule, and where it is broken.
pub(super) type Break = (Rule, String);

/// A contract by the full names of what it has.
#[derive(Default)]
struct Contract<'a> {
    messages: BTreeMap<String, &'a DescriptorProto>,
    enums: BTreeMap<String, &'a EnumDescriptorProto>,
    services: BTreeMap<String, &'a ServiceDescriptorProto>,
}

impl<'a> Contract<'a> {
    /// Everything of our own package; files may be cut otherwise.
    fn of(set: &'a FileDescriptorSet) -> Self {
        let mut contract = Self::default();
        for file in set.file.iter().filter(|file| file.package() == super::PACKAGE) {
            contract.gather(super::PACKAGE, &file.message_type, &file.enum_type);
            let named = |service: &'a ServiceDescriptorProto| (service.name().to_owned(), service);
            contract.services.extend(file.service.iter().map(named));
        }
        contract
    }

    fn gather(&mut self, within: &str, messages: &'a [DescriptorProto], enums: &'a [EnumDescriptorProto]) {
        for message in messages {
            let name = format!("{within}.{}", message.name());
            self.gather(&name, &message.nested_type, &message.enum_type);
            self.messages.insert(name, message);
        }
        self.enums.extend(enums.iter().map(|found| (format!("{within}.{}", found.name()), found)));
    }
}

/// What of `before` is broken `now`.
pub(super) fn breaks(before: &FileDescriptorSet, now: &FileDescriptorSet) -> Vec<Break> {
    let (before, now) = (Contract::of(before), Contract::of(now));
    let mut found = Vec::new();
    for (name, old) in &before.messages {
        match now.messages.get(name) {
            None => found.push((Rule::MessageGone, name.clone())),
            Some(new) => of_message(name, old, new, &mut found),
        }
    }
    for (name, old) in &before.enums {
        match now.enums.get(name) {
            None => found.push((Rule::EnumGone, name.clone())),
            Some(new) => of_enum(name, old, new, &mut found),
        }
    }
    for (name, old) in &before.services {
        match now.services.get(name) {
            None => found.push((Rule::ServiceGone, name.clone())),
            Some(new) => of_service(name, old, new, &mut found),
        }
    }
    found
}

fn of_message(name: &str, old: &DescriptorProto, new: &DescriptorProto, found: &mut Vec<Break>) {
    let reserves = |number: i32| new.reserved_range.iter().any(|r| (r.start()..r.end()).contains(&number));
    for field in &old.field {
        let place = format!("{name}.{}", field.name());
        match new.field.iter().find(|other| other.number() == field.number()) {
            Some(other) => of_field(&place, (old, field), (new, other), found),
            None if reserves(field.number()) && new.reserved_name.iter().any(|n| n == field.name()) => {}
            None => found.push((Rule::FieldGoneUnreserved, place)),
        }
    }
    let is_free = old.reserved_range.iter().any(|r| (r.start()..r.end()).any(|number| !reserves(number)));
    if is_free || old.reserved_name.iter().any(|name| !new.reserved_name.contains(name)) {
        found.push((Rule::FieldReserve, name.to_owned()));
    }
}

/// A field with the message that has it.
type Placed<'a> = (&'a DescriptorProto, &'a FieldDescriptorProto);

/// The `oneof` that a field is in. One that only says that the field can be absent is none.
fn oneof((message, field): Placed<'_>) -> Option<String> {
    let index = usize::try_from(field.oneof_index?).ok()?;
    let is_real = !field.proto3_optional();
    is_real.then(|| message.oneof_decl.get(index).map(|oneof| oneof.name().to_owned()))?
}

fn of_field(place: &str, before: Placed<'_>, now: Placed<'_>, found: &mut Vec<Break>) {
    let (old, new) = (before.1, now.1);
    let rules = [
        (Rule::FieldName, old.name() != new.name()),
        (Rule::FieldJsonName, old.json_name() != new.json_name()),
        (Rule::FieldType, (old.r#type(), old.type_name()) != (new.r#type(), new.type_name())),
        (Rule::FieldLabel, old.label() != new.label()),
        (Rule::FieldPresence, old.proto3_optional() != new.proto3_optional()),
        (Rule::FieldOneof, oneof(before) != oneof(now)),
    ];
    found.extend(
        rules.into_iter().filter(|(_, is_broken)| *is_broken).map(|(rule, _)| (rule, place.to_owned())),
    );
}

fn of_enum(name: &str, old: &EnumDescriptorProto, new: &EnumDescriptorProto, found: &mut Vec<Break>) {
    // The ends of ranges belong to them here, not so in messages.
    let reserves = |number: i32| new.reserved_range.iter().any(|r| (r.start()..=r.end()).contains(&number));
    for value in &old.value {
        let place = format!("{name}.{}", value.name());
        let mut same_number = new.value.iter().filter(|other| other.number() == value.number()).peekable();
        if same_number.peek().is_none() {
            let is_reserved = reserves(value.number()) && new.reserved_name.iter().any(|n| n == value.name());
            if !is_reserved {
                found.push((Rule::ValueGoneUnreserved, place));
            }
        } else if !same_number.any(|other| other.name() == value.name()) {
            found.push((Rule::ValueName, place));
        }
    }
    let is_free = old.reserved_range.iter().any(|r| (r.start()..=r.end()).any(|number| !reserves(number)));
    if is_free || old.reserved_name.iter().any(|name| !new.reserved_name.contains(name)) {
        found.push((Rule::ValueReserve, name.to_owned()));
    }
}

fn of_service(
    name: &str,
    old: &ServiceDescriptorProto,
    new: &ServiceDescriptorProto,
    found: &mut Vec<Break>,
) {
    for method in &old.method {
        let place = format!("{name}.{}", method.name());
        match new.method.iter().find(|other| other.name() == method.name()) {
            None => found.push((Rule::MethodGone, place)),
            Some(other) => of_method(&place, method, other, found),
        }
    }
}

fn of_method(place: &str, old: &MethodDescriptorProto, new: &MethodDescriptorProto, found: &mut Vec<Break>) {
    let streams = |method: &MethodDescriptorProto| (method.client_streaming(), method.server_streaming());
    let rules = [
        (Rule::MethodRequest, old.input_type() != new.input_type()),
        (Rule::MethodResponse, old.output_type() != new.output_type()),
        (Rule::MethodStreaming, streams(old) != streams(new)),
    ];
    found.extend(
        rules.into_iter().filter(|(_, is_broken)| *is_broken).map(|(rule, _)| (rule, place.to_owned())),
    );
}
