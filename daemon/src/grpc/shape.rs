//! The shapes of requests, read from the contract's own descriptors: whether bytes are a message of a type, and where they are not.
//!
//! The generated code would tell too, but as a fault of the server, and it drops what it does not know. A caller who sends a field that
//! this daemon does not have means something by it, so it is refused by name and not ignored.

use std::collections::{BTreeMap, HashMap};

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};

use crate::catalog::FieldProblem;

/// Messages within messages; the contract has three levels.
const DEPTH_MAX: usize = 16;

/// Every message type by its full name, and the request type of every method by its path.
pub(super) struct Shapes {
    messages: HashMap<String, BTreeMap<u64, Field>>,
    requests: HashMap<String, String>,
}

struct Field {
    name: String,
    kind: Kind,
    repeated: bool,
}

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    Varint,
    Fixed64,
    Fixed32,
    Bytes,
    Text,
    Message(String),
}

/// One value as it stands on the wire.
enum Value<'a> {
    Varint,
    Fixed64,
    Fixed32,
    Bytes(&'a [u8]),
}

impl Shapes {
    /// The shapes of the contract.
    pub(super) fn of_the_contract() -> Result<Self, prost::DecodeError> {
        let set = FileDescriptorSet::decode(settled_proto::DESCRIPTORS)?;
        let mut shapes = Self { messages: HashMap::new(), requests: HashMap::new() };
        for file in &set.file {
            for message in &file.message_type {
                shapes.add(message, &format!(".{}", file.package()));
            }
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    shapes.requests.insert(path, method.input_type().to_owned());
                }
            }
        }
        Ok(shapes)
    }

    fn add(&mut self, message: &DescriptorProto, within: &str) {
        let name = format!("{within}.{}", message.name());
        for nested in &message.nested_type {
            self.add(nested, &name);
        }
        let fields = message.field.iter().map(|f| (u64::try_from(f.number()).unwrap_or(0), Field::new(f)));
        self.messages.insert(name, fields.collect());
    }

    /// The type of the request of a method of the contract.
    pub(super) fn request_of(&self, path: &str) -> Option<&str> {
        self.requests.get(path).map(String::as_str)
    }

    /// Whether these bytes are a message of this type. The field of the problem is empty when nobody can say which it is.
    pub(super) fn check(&self, message: &str, bytes: &[u8]) -> Result<(), FieldProblem> {
        self.walk(message, bytes, "", 0)
    }

    fn walk(&self, message: &str, mut rest: &[u8], path: &str, depth: usize) -> Result<(), FieldProblem> {
        let Some(fields) = self.messages.get(message) else {
            return Err(problem(path, format!("is of the type {message}, which the contract does not have")));
        };
        if depth > DEPTH_MAX {
            return Err(problem(path, "is nested too deeply"));
        }
        while !rest.is_empty() {
            let Some((number, value)) = next(&mut rest) else {
                return Err(problem(path, "is not in protobuf form"));
            };
            let Some(field) = fields.get(&number) else {
                let type_name = message.trim_start_matches('.');
                let text =
                    format!("{type_name} has no field {number} here: is the client newer than the daemon?");
                return Err(problem(&join(path, &format!("#{number}")), text));
            };
            self.check_value(field, &value, &join(path, &field.name), depth)?;
        }
        Ok(())
    }

    fn check_value(
        &self,
        field: &Field,
        value: &Value<'_>,
        path: &str,
        depth: usize,
    ) -> Result<(), FieldProblem> {
        match (&field.kind, value) {
            (Kind::Varint, Value::Varint)
            | (Kind::Fixed64, Value::Fixed64)
            | (Kind::Fixed32, Value::Fixed32)
            | (Kind::Bytes, Value::Bytes(_)) => Ok(()),
            (Kind::Text, Value::Bytes(bytes)) if std::str::from_utf8(bytes).is_ok() => Ok(()),
            (Kind::Text, Value::Bytes(_)) => Err(problem(path, "is not UTF-8")),
            (Kind::Message(name), Value::Bytes(bytes)) => self.walk(name, bytes, path, depth + 1),
            (kind, Value::Bytes(bytes)) if field.repeated && packed(kind, bytes) => Ok(()),
            _ => Err(problem(path, "is of another type than the contract says")),
        }
    }
}

impl Field {
    fn new(descriptor: &FieldDescriptorProto) -> Self {
        let kind = match descriptor.r#type() {
            Type::Double | Type::Fixed64 | Type::Sfixed64 => Kind::Fixed64,
            Type::Float | Type::Fixed32 | Type::Sfixed32 => Kind::Fixed32,
            Type::String => Kind::Text,
            Type::Bytes => Kind::Bytes,
            Type::Message | Type::Group => Kind::Message(descriptor.type_name().to_owned()),
            Type::Int64
            | Type::Uint64
            | Type::Int32
            | Type::Uint32
            | Type::Sint32
            | Type::Sint64
            | Type::Bool
            | Type::Enum => Kind::Varint,
        };
        Self { name: descriptor.name().to_owned(), kind, repeated: descriptor.label() == Label::Repeated }
    }
}

fn problem(path: &str, message: impl Into<String>) -> FieldProblem {
    FieldProblem { field: path.to_owned(), message: message.into() }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Numbers of a list, one after the other.
fn packed(kind: &Kind, mut bytes: &[u8]) -> bool {
    match kind {
        Kind::Fixed64 => bytes.len().is_multiple_of(8),
        Kind::Fixed32 => bytes.len().is_multiple_of(4),
        Kind::Varint => {
            while !bytes.is_empty() {
                if varint(&mut bytes).is_none() {
                    return false;
                }
            }
            true
        }
        Kind::Bytes | Kind::Text | Kind::Message(_) => false,
    }
}

/// The next field: its number and its value. Groups, which proto3 does not have, are no fields.
fn next<'a>(rest: &mut &'a [u8]) -> Option<(u64, Value<'a>)> {
    let key = varint(rest)?;
    let value = match key & 7 {
        0 => varint(rest).map(|_| Value::Varint)?,
        1 => take(rest, 8).map(|_| Value::Fixed64)?,
        2 => {
            let length = usize::try_from(varint(rest)?).ok()?;
            Value::Bytes(take(rest, length)?)
        }
        5 => take(rest, 4).map(|_| Value::Fixed32)?,
        _ => return None,
    };
    let number = key >> 3;
    (number > 0 && u32::try_from(key).is_ok()).then_some((number, value))
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

/// Seven bits per byte, at most ten bytes, the last of which holds one bit.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, left) = rest.split_first()?;
        *rest = left;
        if shift == 63 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use settled_proto::v1::{InstallRequest, Position, WatchFilter, WatchRequest, watch_request::Start};

    use super::*;

    const INSTALL: &str = ".settled.v1.InstallRequest";
    const WATCH: &str = ".settled.v1.WatchRequest";

    fn shapes() -> Shapes {
        Shapes::of_the_contract().unwrap()
    }

    fn watch() -> WatchRequest {
        let start = Some(Start::Since(Position { generation: "G".to_owned(), seq: u64::MAX }));
        let filter = WatchFilter {
            server: "web".to_owned(),
            labels: [("a".to_owned(), "b".to_owned())].into(),
            kinds: vec![1, 2, -1],
            ..WatchFilter::default()
        };
        WatchRequest { start, filters: vec![filter] }
    }

    #[test]
    fn every_method_of_the_contract_has_a_shape() {
        let shapes = shapes();
        for (path, ..) in settled_proto::ACCESS {
            let request = shapes.request_of(path).unwrap_or_else(|| panic!("{path}"));
            assert_eq!(shapes.check(request, &[]), Ok(()), "{path}");
        }
    }

    #[test]
    fn what_the_generated_code_writes_is_in_shape() {
        assert_eq!(shapes().check(WATCH, &watch().encode_to_vec()), Ok(()));
        let install = InstallRequest {
            parameters: [("a".to_owned(), "ä".to_owned())].into(),
            secrets: [("b".to_owned(), vec![0xff])].into(),
            dry_run: true,
            queue_limit_s: u32::MAX,
            ..InstallRequest::default()
        };
        assert_eq!(shapes().check(INSTALL, &install.encode_to_vec()), Ok(()));
    }

    #[test]
    fn what_is_out_of_shape_is_named() {
        let check = |message: &str, bytes: &[u8], field: &str, part: &str| {
            let problem = shapes().check(message, bytes).unwrap_err();
            assert_eq!(problem.field, field, "{problem:?}");
            assert!(problem.message.contains(part), "{problem:?}");
        };
        check(INSTALL, &[0xff], "", "protobuf");
        check(INSTALL, &[0x0a, 0x05, b'a'], "", "protobuf");
        check(INSTALL, &[0x0b], "", "protobuf");
        check(INSTALL, &[0x00, 0x00], "", "protobuf");
        check(INSTALL, &[0x08, 0x01], "request_id", "another type");
        check(INSTALL, &[0x0a, 0x01, 0xff], "request_id", "UTF-8");
        check(INSTALL, &[0x2a, 0x03, 0x0a, 0x01, 0xff], "parameters.key", "UTF-8");
        check(INSTALL, &[0x98, 0x06, 0x01], "#99", "newer");
        check(INSTALL, &[0x2a, 0x02, 0x18, 0x01], "parameters.#3", "newer");
    }

    proptest! {
        /// Where the shape says yes, the generated code must not say no: that would be told as a fault of the daemon.
        #[test]
        fn what_is_in_shape_is_understood(bytes in prop::collection::vec(any::<u8>(), 0..40), at in 0_usize..60, bit in 0_u8..8) {
            let mut changed = watch().encode_to_vec();
            if let Some(byte) = changed.get_mut(at) {
                *byte ^= 1 << bit;
            }
            for text in [bytes, changed] {
                if shapes().check(WATCH, &text).is_ok() {
                    prop_assert!(WatchRequest::decode(&text[..]).is_ok(), "{text:?}");
                }
            }
        }
    }
}
