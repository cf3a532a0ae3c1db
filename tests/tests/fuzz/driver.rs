//! Feeds a target: what was found before, what is sound, and what comes of it by chance. A seed replays a whole session.

use std::fs;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use sha2::{Digest as _, Sha256};

/// Inputs of a target in the suite, beside the corpus; one of many like it has fewer.
const ROUNDS: usize = 48;
/// Longest time that one input may take, also on a machine that has much else to do.
const INPUT_WITHIN: Duration = Duration::from_secs(60);
/// Longest input that chance makes, in bytes.
const BYTES_MAX: usize = 4_096;

/// What became of an input: what it came to, in a word, or what is wrong with the program.
pub(crate) type Outcome = Result<&'static str, String>;

/// How long each target is fed: by a number of inputs, or for seconds.
#[derive(Clone, Copy)]
enum Length {
    Rounds(usize),
    Span(Duration),
}

/// A session with one target.
pub(crate) struct Session {
    name: String,
    /// Texts that mean something to the target.
    words: &'static [&'static str],
    seeds: Vec<Vec<u8>>,
    chance: StdRng,
    length: Length,
    fed: usize,
    began: Instant,
}

impl Session {
    /// A target of this name, to which these words mean something, with these sound inputs beside those of its corpus.
    pub(crate) fn new(name: &str, words: &'static [&'static str], mut seeds: Vec<Vec<u8>>) -> Self {
        seeds.extend(corpus(name));
        let seconds =
            std::env::var("SETTLED_FUZZ_S").ok().map(|text| text.parse().expect("a number of seconds"));
        let length = seconds.map_or(Length::Rounds(ROUNDS), |s| Length::Span(Duration::from_secs_f64(s)));
        let seed = std::env::var("SETTLED_SEED").ok().map(|text| text.parse().expect("a number"));
        let seed: u64 = match (seed, length) {
            (Some(seed), _) => seed,
            (None, Length::Rounds(_)) => 1,
            (None, Length::Span(_)) => rand::random(),
        };
        if let Length::Span(_) = length {
            println!("{name}: SETTLED_SEED={seed}");
        }
        let chance = StdRng::seed_from_u64(seed);
        Self { name: name.to_owned(), words, seeds, chance, length, fed: 0, began: Instant::now() }
    }

    /// A target of which there are many like it.
    pub(crate) fn one_of_many(mut self) -> Self {
        if let Length::Rounds(rounds) = &mut self.length {
            *rounds = ROUNDS / 8;
        }
        self
    }

    /// Feeds it to the end of the session. What is found is a panic here, with the input that did it.
    pub(crate) async fn feed(&mut self, take: impl AsyncFn(&[u8]) -> Outcome) {
        while let Some(input) = self.next() {
            let began = Instant::now();
            let outcome = AssertUnwindSafe(take(&input)).catch_unwind().await;
            let outcome = outcome.unwrap_or_else(|_| Err("it panicked".to_owned()));
            let outcome = match outcome {
                Ok(_) if began.elapsed() > INPUT_WITHIN => Err(format!("it took {:?}", began.elapsed())),
                outcome => outcome,
            };
            if let Err(wrong) = outcome {
                let kept = self.keep(&input);
                panic!("{}: {wrong}\n{kept}{:?}", self.name, String::from_utf8_lossy(&input));
            }
        }
        if let Length::Span(_) = self.length {
            println!("{}: {} inputs in {:.1} s", self.name, self.fed, self.began.elapsed().as_secs_f64());
        }
    }

    /// The next input: first every sound one, then what comes of them.
    fn next(&mut self) -> Option<Vec<u8>> {
        let fed = self.fed;
        let goes_on = match self.length {
            Length::Rounds(rounds) => fed < self.seeds.len() + rounds,
            Length::Span(span) => fed < self.seeds.len() || self.began.elapsed() < span,
        };
        self.fed += 1;
        goes_on.then(|| match self.seeds.get(fed) {
            Some(seed) => seed.clone(),
            None => self.by_chance(),
        })
    }

    fn by_chance(&mut self) -> Vec<u8> {
        if self.seeds.is_empty() || self.chance.random_ratio(1, 4) {
            let length = self.chance.random_range(0..400);
            return (0..length).map(|_| self.chance.random()).collect();
        }
        let mut input = self.seeds[self.chance.random_range(0..self.seeds.len())].clone();
        for _ in 0..self.chance.random_range(1..8) {
            self.change(&mut input);
        }
        input.truncate(BYTES_MAX.max(self.seeds.iter().map(Vec::len).max().unwrap_or_default()));
        input
    }

    /// One change, somewhere.
    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.chance.random_range(0..=input.len());
        let end = (at + self.chance.random_range(0..40)).min(input.len());
        match self.chance.random_range(0..7) {
            0 if at < input.len() => input[at] ^= 1 << self.chance.random_range(0..8),
            1 if at < input.len() => input[at] = self.chance.random(),
            2 => drop(input.drain(at..end)),
            3 => {
                let again = input[at..end].repeat(self.chance.random_range(1..20));
                input.splice(at..at, again);
            }
            4 => {
                let other = &self.seeds[self.chance.random_range(0..self.seeds.len())];
                let from = self.chance.random_range(0..=other.len());
                let part = other[from..(from + 40).min(other.len())].to_vec();
                input.splice(at..end, part);
            }
            5 if !self.words.is_empty() => {
                let word = self.words[self.chance.random_range(0..self.words.len())];
                input.splice(at..at, word.bytes());
            }
            _ => {
                let number: i64 =
                    [0, -1, i64::MAX, i64::MIN, 1 << 32, 99_999_999][self.chance.random_range(0..6)];
                input.splice(at..end, number.to_string().into_bytes());
            }
        }
    }

    /// In a long session, writes the input into the corpus, so that it is fed again from then on; answers where.
    fn keep(&self, input: &[u8]) -> String {
        if let Length::Rounds(_) = self.length {
            return String::new();
        }
        let directory = directory(&self.name);
        let file = directory.join(format!("found-{}", &hex::encode(Sha256::digest(input))[..12]));
        fs::create_dir_all(&directory).unwrap();
        fs::write(&file, input).unwrap();
        format!("kept as {}\n", file.display())
    }
}

fn directory(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name)
}

/// What lies in the corpus of a target, in order of name.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let Ok(entries) = fs::read_dir(directory(name)) else { return Vec::new() };
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// The texts of a directory of the repository, by the end of their names.
pub(crate) fn texts_of(directory: &str, end: &str) -> Vec<Vec<u8>> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(directory);
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|file| file.to_string_lossy().ends_with(end)).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}
