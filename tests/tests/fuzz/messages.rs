//! Requests made of bytes by the contract's own descriptors: sound ones, nearly sound ones, and such that nobody would send. A type that is
//! new is made like any other.

use std::collections::HashMap;

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};

/// Messages within messages that are made.
const DEPTH_MAX: usize = 6;

/// Bytes as a supply of decisions. When there are no more, everything is decided the simplest way.
pub(crate) struct Supply<'a>(pub(crate) &'a [u8]);

impl Supply<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// One of so many.
    fn of(&mut self, count: usize) -> usize {
        usize::from(self.byte()) % count
    }
}

/// The types of the contract.
pub(crate) struct Contract {
    messages: HashMap<String, DescriptorProto>,
    /// The request types of methods, by path.
    requests: HashMap<String, String>,
}

impl Contract {
    pub(crate) fn read() -> Self {
        let set = FileDescriptorSet::decode(settled_proto::DESCRIPTORS).unwrap();
        let mut contract = Self { messages: HashMap::new(), requests: HashMap::new() };
        for file in &set.file {
            for message in &file.message_type {
                contract.add(message, &format!(".{}", file.package()));
            }
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    contract.requests.insert(path, method.input_type().to_owned());
                }
            }
        }
        contract
    }

    fn add(&mut self, message: &DescriptorProto, within: &str) {
        let name = format!("{within}.{}", message.name());
        for nested in &message.nested_type {
            self.add(nested, &name);
        }
        self.messages.insert(name, message.clone());
    }

    /// The type of a method's request.
    pub(crate) fn request_of(&self, path: &str) -> &str {
        &self.requests[path]
    }

    /// A request to a method. `words` are what is there: by the name of a field, good values.
    pub(crate) fn request(&self, path: &str, supply: &mut Supply<'_>, words: &Words) -> Vec<u8> {
        let mood = Mood::of(supply);
        let mut message = self.message(self.request_of(path), supply, words, mood, 0);
        if mood == Mood::Broken {
            for _ in 0..=supply.of(4) {
                let at = usize::from(supply.byte()) * (message.len() + 1) / 256;
                match supply.of(3) {
                    0 => message.insert(at.min(message.len()), supply.byte()),
                    1 => message.truncate(at),
                    _ => {
                        if let Some(byte) = message.get_mut(at) {
                            *byte = supply.byte();
                        }
                    }
                }
            }
        }
        message
    }

    fn message(
        &self,
        name: &str,
        supply: &mut Supply<'_>,
        words: &Words,
        mood: Mood,
        depth: usize,
    ) -> Vec<u8> {
        let Some(descriptor) = self.messages.get(name).filter(|_| depth < DEPTH_MAX) else {
            return Vec::new();
        };
        let is_map = descriptor.options.as_ref().is_some_and(prost_types::MessageOptions::map_entry);
        let mut message = Vec::new();
        for field in &descriptor.field {
            let is_good = words.0.iter().any(|(known, _)| *known == field.name());
            let is_left_out = match mood {
                Mood::Sound => !is_map && (!is_good || field.name() == "page_token"),
                _ => supply.of(3) == 0,
            };
            if is_left_out {
                continue;
            }
            let many = if field.label() == Label::Repeated && mood != Mood::Sound { supply.of(4) } else { 1 };
            for _ in 0..many {
                self.field(field, &mut message, supply, words, mood, depth);
            }
        }
        message
    }

    fn field(
        &self,
        field: &FieldDescriptorProto,
        message: &mut Vec<u8>,
        supply: &mut Supply<'_>,
        words: &Words,
        mood: Mood,
        depth: usize,
    ) {
        let number = u64::try_from(field.number()).unwrap() << 3;
        let mut bytes = |value: &[u8]| {
            varint(number | 2, message);
            varint(value.len() as u64, message);
            message.extend(value);
        };
        match field.r#type() {
            Type::String | Type::Bytes => bytes(&words.text(field.name(), supply, mood)),
            Type::Message | Type::Group
                if field.type_name().ends_with(".ParametersEntry") && mood == Mood::Sound =>
            {
                for (key, value) in PARAMETERS {
                    let mut entry = Vec::new();
                    for (number, text) in [(1, key), (2, value)] {
                        varint(number << 3 | 2, &mut entry);
                        varint(text.len() as u64, &mut entry);
                        entry.extend(text.bytes());
                    }
                    bytes(&entry);
                }
            }
            Type::Message | Type::Group => {
                bytes(&self.message(field.type_name(), supply, words, mood, depth + 1));
            }
            Type::Double | Type::Fixed64 | Type::Sfixed64 => {
                varint(number | 1, message);
                message.extend(number_of(field.name(), supply, mood).to_le_bytes());
            }
            Type::Float | Type::Fixed32 | Type::Sfixed32 => {
                varint(number | 5, message);
                message.extend([supply.byte(); 4]);
            }
            _ => {
                varint(number, message);
                varint(number_of(field.name(), supply, mood), message);
            }
        }
    }
}

/// The parameters of the package that sound requests are about.
const PARAMETERS: [(&str, &str); 2] = [("expression", "5 4 * * *"), ("command", "true")];

/// How sound a request is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    /// All that is known to be good, and nothing else.
    Sound,
    /// Mostly good.
    Odd,
    /// Nothing good.
    Wild,
    /// Odd, and not even in form.
    Broken,
}

impl Mood {
    fn of(supply: &mut Supply<'_>) -> Self {
        match supply.of(16) {
            0..=4 => Self::Sound,
            5..=10 => Self::Odd,
            11..=13 => Self::Wild,
            _ => Self::Broken,
        }
    }
}

/// Good values for texts, by the name of their field.
pub(crate) struct Words(pub(crate) Vec<(&'static str, Vec<String>)>);

impl Words {
    fn text(&self, field: &str, supply: &mut Supply<'_>, mood: Mood) -> Vec<u8> {
        let is_good = match mood {
            Mood::Sound => true,
            Mood::Odd | Mood::Broken => supply.of(6) != 0,
            Mood::Wild => false,
        };
        let good = self.0.iter().find(|(known, _)| *known == field).map(|(_, values)| values);
        match good {
            Some(values) if is_good && !values.is_empty() => {
                let value = &values[supply.of(values.len())];
                // What has to be new each time.
                value.replace('%', &format!("{:02x}{:02x}", supply.byte(), supply.byte())).into_bytes()
            }
            _ => evil(supply, &self.0),
        }
    }
}

/// What nobody should be able to do harm with.
fn evil(supply: &mut Supply<'_>, known: &[(&'static str, Vec<String>)]) -> Vec<u8> {
    const EVIL: [&str; 24] = [
        "",
        " ",
        "a\0b",
        "a\nb",
        "\u{202e}x",
        "ä",
        "../../etc/passwd",
        "'; DROP TABLE run; --",
        "%s%n{}",
        "-rf",
        "\u{feff}",
        "99999999999999999999",
        "label:",
        "label:a=",
        "server:",
        "{",
        "[[[[[[[[[[",
        "null",
        "\u{10ffff}",
        "a/b/c/d",
        "*",
        "0",
        "-1",
        "{\"a\":1e999}",
    ];
    match supply.of(8) {
        0 => vec![b'x'; [63, 64, 65, 129, 1_025, 70_000][supply.of(6)]],
        1 => vec![supply.byte(), supply.byte()],
        2 if !known.is_empty() => {
            let (_, values) = &known[supply.of(known.len())];
            values.first().cloned().unwrap_or_default().into_bytes()
        }
        _ => EVIL[supply.of(EVIL.len())].as_bytes().to_vec(),
    }
}

/// A number: small in a sound request, for most are choices or counts.
fn number_of(field: &str, supply: &mut Supply<'_>, mood: Mood) -> u64 {
    if mood == Mood::Sound {
        return match field {
            "seconds" => 1_900_000_000,
            "nanos" => 0,
            "queue_limit_s" => 3_600,
            _ => 1,
        };
    }
    match supply.of(8) {
        0..=4 => u64::from(supply.byte() % 8),
        5 => u64::from(supply.byte()) << 8,
        6 => [u64::MAX, 1 << 63, (1 << 63) - 1, u64::from(u32::MAX), 1 << 32, 501][supply.of(6)],
        _ => 1_700_000_000 + u64::from(supply.byte()),
    }
}

fn varint(mut value: u64, into: &mut Vec<u8>) {
    while value >= 128 {
        into.push(u8::try_from(value % 128).unwrap() | 128);
        value /= 128;
    }
    into.push(u8::try_from(value).unwrap());
}
