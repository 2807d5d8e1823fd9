//! `docs/CONFIGURATION.md`: every setting of every program, out of the files of defaults that the programs carry.

use std::fmt::Write as _;

use super::config::Program;

/// One setting.
#[derive(PartialEq, Eq, Debug)]
struct Setting<'a> {
    key: &'a str,
    default: &'a str,
    /// What stands above it; empty where the one before says it for both.
    comment: String,
}

/// A section, what stands above its first key apart from it, and its settings.
#[derive(PartialEq, Eq, Debug)]
struct Section<'a> {
    name: &'a str,
    settings: Vec<Setting<'a>>,
}

const HEAD: &str = "# Every setting

Made of the files of defaults by `porchlight config reference`; a test fails when the two differ. Each program carries its
own file (`porchlight config gateway` prints it), and takes settings from three places: its defaults, a file given by
`--config` that overrides them key by key, and the environment, which overrides both: `PORCHLIGHT_SECTION__KEY`, for example
`PORCHLIGHT_KAFKA__BOOTSTRAP_SERVERS`. Unknown keys are refused, and so are pairs that mean nothing together, in a sentence
that names them. `porchlight doctor` says whether what they lead to is as it should be.

## Secrets

Every secret can be given in place (in the file, or by the environment) or in a file of its own, whose key ends in `_file`:
one of the two. None is ever shown. When a secret changes:

| secret | what happens |
|---|---|
| `s3.secret_access_key_file` | read again within 10 s; let the old one be valid for a moment longer |
| `cql.password_file` | read again for each new connection; those that stand, stand on |
| `kafka.password_file` | read at start: restart, one process after the other |
| certificates (`ca_file`, `cert_file`, `key_file`) | read at start: restart, one process after the other |
| `push.vapid_private_key_file`, `media.grant_key_file` | read at start |

Where something is encrypted, certificates and host names are verified, always: there is no key to switch that off.
";

/// The page.
pub(super) fn page() -> String {
    let mut page = HEAD.to_owned();
    for program in Program::ALL {
        let _ = writeln!(page, "\n## {}", program.name());
        for section in sections(program.defaults()) {
            let _ = writeln!(
                page,
                "\n### `[{}]` of {}\n\n| key | default | what it is |\n|---|---|---|",
                section.name,
                program.name()
            );
            for Setting { key, default, comment } in section.settings {
                let _ = writeln!(page, "| `{key}` | `{}` | {} |", cell(default), cell(&comment));
            }
        }
    }
    page
}

/// What would end a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// The files of defaults are written by us: a line is a section, a comment, a setting or nothing.
fn sections(toml: &str) -> Vec<Section<'_>> {
    let mut all: Vec<Section<'_>> = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    for line in toml.lines().map(str::trim) {
        if let Some(said) = line.strip_prefix('#') {
            comment.push(said.trim());
        } else if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            all.push(Section { name, settings: Vec::new() });
            comment.clear();
        } else if let (Some((key, default)), Some(section)) = (line.split_once('='), all.last_mut()) {
            let comment = std::mem::take(&mut comment).join(" ");
            section.settings.push(Setting { key: key.trim(), default: default.trim(), comment });
        } else {
            // What stands above an empty line is about the whole file.
            comment.clear();
        }
    }
    all
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_page_is_that_of_these_defaults() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/CONFIGURATION.md");
        let kept = std::fs::read_to_string(file).unwrap_or_default();
        let differs = page().lines().zip(kept.lines()).position(|(made, kept)| made != kept);
        assert!(
            page() == kept,
            "docs/CONFIGURATION.md differs from line {:?} on: porchlight config reference > docs/CONFIGURATION.md",
            differs.map(|line| line + 1)
        );
    }

    #[test]
    fn a_setting_has_what_stands_above_it() {
        let toml = "# The file.\n\n[a]\n# One,\n# and more.\nb = 1\nc = \"x\"\n[d]\n# Two.\ne = []\n";
        let setting = |key, default, comment: &str| Setting { key, default, comment: comment.to_owned() };
        let a = Section { name: "a", settings: vec![setting("b", "1", "One, and more."), setting("c", "\"x\"", "")] };
        let d = Section { name: "d", settings: vec![setting("e", "[]", "Two.")] };
        assert_eq!(sections(toml), [a, d]);
    }

    #[test]
    fn every_key_of_every_program_is_found() {
        for program in Program::ALL {
            let found: usize = sections(program.defaults()).iter().map(|section| section.settings.len()).sum();
            let lines = program.defaults().lines();
            let keys = lines.filter(|line| !line.trim_start().starts_with('#') && line.contains('=')).count();
            assert_eq!(found, keys, "{}", program.name());
        }
    }
}
