//! `porchlight dead-letters show`.

use std::{
    fs::OpenOptions,
    io::{ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use porchlight_bus::{Contents, DeadLetter, KafkaConfig, Letter, LetterName};
use uuid::Uuid;

use super::{super::Failure, content, failed, printable, read};

/// The longest key that is shown, bytes.
const MAX_KEY_BYTES: usize = 64;
/// The headers that are ours begin so. The values of others are not ours to show.
const OUR_HEADERS: &str = "porchlight-";

#[derive(clap::Args, Debug)]
pub(in crate::cli) struct Args {
    /// Its name, as list tells it.
    letter: LetterName,
    /// Write its untouched bytes into this file, which must not be there yet. They may hold a place.
    #[arg(long, value_name = "FILE")]
    raw: Option<PathBuf>,
}

pub(super) async fn run(args: Args, kafka: &KafkaConfig) -> Result<String, Failure> {
    let found = read(kafka, None).await?;
    let letter =
        found.letters.iter().find(|letter| letter.is_called(args.letter)).ok_or_else(|| unknown(args.letter))?;
    let mut contents = Contents::of(kafka, &[letter]).await.map_err(|error| failed(&error, kafka))?;
    let next = contents.next().await.map_err(|error| failed(&error, kafka))?;
    let (_, message) = next.ok_or_else(|| unknown(args.letter))?;
    let mut text = describe(letter, &message, kafka);
    if let Some(file) = &args.raw {
        write(file, &message.value)?;
        text += &format!("\nits {} bytes are in {}\n", message.value.len(), file.display());
    }
    Ok(text)
}

/// No letter is called so.
pub(super) fn unknown(name: LetterName) -> Failure {
    Failure::Failed(format!(
        "no dead letter is called {name} (any more: they are kept for 14 days); porchlight dead-letters list --all tells \
         all names"
    ))
}

fn describe(letter: &Letter, message: &DeadLetter, kafka: &KafkaConfig) -> String {
    let mut lines = vec![
        ("letter", letter.name.to_string()),
        ("failed at", letter.failed_at.to_string()),
        ("stage", printable(&letter.origin.stage)),
        ("from", printable(&letter.origin.to_string())),
        ("reason", printable(&letter.reason)),
        ("key", message.key.as_deref().map_or("none".to_owned(), key)),
    ];
    for header in &message.headers {
        let value = match std::str::from_utf8(&header.value) {
            Ok(text) if header.name.starts_with(OUR_HEADERS) => printable(text),
            Ok(_) | Err(_) => format!("{} bytes", header.value.len()),
        };
        lines.push(("header", format!("{}: {value}", printable(&header.name))));
    }
    lines.push(("bytes", letter.bytes.to_string()));
    if !letter.repeats.is_empty() {
        let last = letter.repeats.last().map(ToString::to_string).unwrap_or_default();
        lines.push(("buried", format!("{} times, last as {last}", letter.repeats.len() + 1)));
    }
    lines.push((
        "put back",
        letter.redriven.map_or("no".to_owned(), |redriven| {
            let (topic, at) = (printable(&letter.origin.topic), redriven.at);
            format!("{at} as {topic}/{}/{}", redriven.partition, redriven.offset)
        }),
    ));
    let head: String = lines.into_iter().map(|(name, value)| format!("{name:<10} {value}\n")).collect();
    format!("{head}\n{}", content::describe(letter.origin.known_topic(kafka), &message.value))
}

fn key(bytes: &[u8]) -> String {
    match Uuid::from_slice(bytes) {
        Ok(id) => id.to_string(),
        Err(_) if bytes.len() <= MAX_KEY_BYTES => content::hex(bytes),
        Err(_) => format!("{} bytes", bytes.len()),
    }
}

/// For this user's eyes only, and over nothing that is there.
fn write(file: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    opened.and_then(|mut opened| opened.write_all(bytes)).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Failure::Usage(format!("{} is there already: name a new file", file.display())),
        _ => Failure::Failed(format!("cannot write {}: {error}", file.display())),
    })
}
