//! Configuration: one commented TOML file holds every key and its default; a file and the environment override it.

use std::path::Path;

use figment::{
    Figment, Metadata, Profile, Provider,
    providers::{Format, Toml},
    value::{Dict, Map, Value},
};
use serde::de::DeserializeOwned;

/// The prefix of every environment variable that is a setting.
const PREFIX: &str = "PORCHLIGHT_";

/// A setting that cannot be; its text is one line for the operator, naming the key.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// `default_toml` (the service's commented `default.toml`, which holds every key), overridden by `file`, overridden by
/// `PORCHLIGHT_SECTION__KEY` of `env`.
///
/// Unknown keys are refused with the allowed ones named. Environment variables without `__`, and those of sections that
/// this service does not have, are not its business. A variable whose default is text is taken as it stands; any other
/// is read as a TOML value (`5`, `true`, `["a", "b"]`).
///
/// # Errors
/// [`ConfigError`].
pub fn load<C: DeserializeOwned>(
    default_toml: &str,
    file: Option<&Path>,
    env: impl IntoIterator<Item = (String, String)>,
) -> Result<C, ConfigError> {
    Sources::read(default_toml, file, env)?.extract()
}

/// The three layers, laid over each other and known to hold no key that the defaults do not.
pub(crate) struct Sources(Figment);

impl Sources {
    pub(crate) fn read(
        default_toml: &str,
        file: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let defaults = parse("default.toml", default_toml)?;
        let mut figment = Figment::new();
        if let Some(path) = file {
            let name = path.display().to_string();
            let text = std::fs::read_to_string(path).map_err(|e| ConfigError(format!("{name}: {e}")))?;
            let values = parse(&name, &text)?;
            only_known("", &defaults, &values).map_err(|e| ConfigError(format!("{name}: {e}")))?;
            figment = figment.merge(Layer { name, values });
        }
        for (variable, text) in env {
            if let Some(values) = from_variable(&defaults, &variable, text)? {
                figment = figment.merge(Layer { name: variable, values });
            }
        }
        // Joined last, the defaults fill only what nothing above has set.
        Ok(Self(figment.join(Layer { name: "default.toml".into(), values: defaults })))
    }

    pub(crate) fn extract<C: DeserializeOwned>(&self) -> Result<C, ConfigError> {
        self.0.extract().map_err(one_line)
    }

    pub(crate) fn section<C: DeserializeOwned>(&self, name: &str) -> Result<C, ConfigError> {
        self.0.extract_inner(name).map_err(one_line)
    }
}

struct Layer {
    name: String,
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}

fn one_line(e: figment::Error) -> ConfigError {
    let source = e.metadata.as_ref().map(|m| format!("{}: ", m.name)).unwrap_or_default();
    let key = if e.path.is_empty() { String::new() } else { format!("{}: ", e.path.join(".")) };
    ConfigError(format!("{source}{key}{}", e.kind))
}

fn parse(name: &str, text: &str) -> Result<Dict, ConfigError> {
    Toml::from_str(text).map_err(|e| {
        let line = e.to_string().split('\n').map(str::trim).filter(|l| !l.is_empty()).collect::<Vec<_>>().join(" ");
        ConfigError(format!("{name}: {line}"))
    })
}

/// A table that is empty in the defaults takes any key: its keys are names that the operator chooses.
fn only_known(path: &str, known: &Dict, given: &Dict) -> Result<(), String> {
    for (key, value) in given {
        let Some(default) = known.get(key) else {
            return Err(unknown(path, key, known));
        };
        if let (Value::Dict(_, known), Value::Dict(_, given)) = (default, value)
            && !known.is_empty()
        {
            only_known(&format!("{path}{key}."), known, given)?;
        }
    }
    Ok(())
}

fn unknown(path: &str, key: &str, known: &Dict) -> String {
    let allowed: Vec<&str> = known.keys().map(String::as_str).collect();
    format!("unknown key {path}{key}; allowed here: {}", allowed.join(", "))
}

/// What a variable sets; `None` if it is not this service's business.
fn from_variable(defaults: &Dict, variable: &str, text: String) -> Result<Option<Dict>, ConfigError> {
    let Some(path) = variable.strip_prefix(PREFIX).filter(|rest| rest.contains("__")) else { return Ok(None) };
    let keys: Vec<String> = path.split("__").map(str::to_ascii_lowercase).collect();
    let Some(section) = keys.first().and_then(|section| defaults.get(section)) else { return Ok(None) };
    let mut default = Some(section);
    let mut at = format!("{}.", keys[0]);
    for key in &keys[1..] {
        default = match default {
            Some(Value::Dict(_, known)) if !known.is_empty() => {
                Some(known.get(key).ok_or_else(|| ConfigError(format!("{variable}: {}", unknown(&at, key, known))))?)
            }
            Some(Value::Dict(..)) | None => None,
            Some(_) => return Err(ConfigError(format!("{variable}: {at} is a value, not a section"))),
        };
        at = format!("{at}{key}.");
    }
    let value = match default {
        Some(Value::String(..)) => Value::from(text),
        Some(_) | None => text.parse().unwrap_or_else(|never: std::convert::Infallible| match never {}),
    };
    let nested = keys.into_iter().rev().fold(value, |value, key| Value::from(Dict::from([(key, value)])));
    Ok(nested.into_dict())
}

/// The `[log]` section.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// `json` or `text`.
    pub format: String,
    /// An env-filter directive, e.g. `info`.
    pub filter: String,
}

/// The `[admin]` section: `/livez`, `/readyz`, `/metrics`.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminConfig {
    /// `ip:port`; port 0: chosen by the system and logged.
    pub listen: String,
    /// A file that gets the bound `ip:port` once it listens, for whoever started the process; empty: none.
    pub address_file: String,
}

/// The `[http]` section of services with an API.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// `ip:port`; port 0: chosen by the system and logged.
    pub listen: String,
    /// A file that gets the bound `ip:port` once it listens, for whoever started the process; empty: none.
    pub address_file: String,
    /// The largest body, as sent.
    pub max_body_bytes: usize,
    /// The largest body after decompression.
    pub max_decoded_bytes: usize,
    /// How long one request may take.
    pub request_timeout_ms: u64,
}

/// The `[lifecycle]` section.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LifecycleConfig {
    /// How long a drain may take after SIGTERM.
    pub drain_ms: u64,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Write as _;

    const DEFAULTS: &str = r#"
        [http]
        listen = "127.0.0.1:0"
        max_body_bytes = 100
        tls = false
        names = ["a"]
        ratio = 0.5
        [issuers]
    "#;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Http {
        listen: String,
        max_body_bytes: usize,
        tls: bool,
        names: Vec<String>,
        ratio: f64,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        http: Http,
        issuers: std::collections::BTreeMap<String, String>,
    }

    fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn refusal(file: Option<&Path>, vars: &[(&str, &str)]) -> String {
        load::<Config>(DEFAULTS, file, env(vars)).unwrap_err().to_string()
    }

    #[test]
    fn the_environment_beats_the_file_and_the_file_the_defaults() {
        let f = file("[http]\nmax_body_bytes = 5\nratio = 1\ntls = true\n[issuers]\nown = \"x\"");
        let c: Config = load(
            DEFAULTS,
            Some(f.path()),
            env(&[("PORCHLIGHT_HTTP__MAX_BODY_BYTES", "7"), ("PORCHLIGHT_HTTP__NAMES", "[\"b\", \"c\"]")]),
        )
        .unwrap();
        assert_eq!((c.http.max_body_bytes, c.http.listen.as_str(), c.http.tls), (7, "127.0.0.1:0", true));
        assert_eq!(c.http.names, ["b", "c"]);
        assert!((c.http.ratio - 1.0).abs() < f64::EPSILON);
        assert_eq!(c.issuers["own"], "x");
    }

    #[test]
    fn text_that_looks_like_a_number_stays_text_where_text_is_wanted() {
        let c: Config = load(DEFAULTS, None, env(&[("PORCHLIGHT_HTTP__LISTEN", "7")])).unwrap();
        assert_eq!(c.http.listen, "7");
        let c: Config = load(DEFAULTS, None, env(&[("PORCHLIGHT_HTTP__LISTEN", "")])).unwrap();
        assert_eq!(c.http.listen, "");
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_allowed_ones_named() {
        let f = file("[http]\nlisten_on = \"x\"");
        let line = refusal(Some(f.path()), &[]);
        assert!(line.contains("unknown key http.listen_on; allowed here: listen, max_body_bytes, names"), "{line}");
        let line = refusal(None, &[("PORCHLIGHT_HTTP__PORT", "1")]);
        assert!(line.starts_with("PORCHLIGHT_HTTP__PORT: unknown key http.port; allowed here: listen,"), "{line}");
        let f = file("[htp]\nlisten = \"x\"");
        assert!(refusal(Some(f.path()), &[]).contains("unknown key htp; allowed here: http, issuers"));
        assert!(refusal(None, &[("PORCHLIGHT_HTTP__LISTEN__X", "1")]).contains("not a section"));
    }

    #[test]
    fn what_belongs_to_others_in_the_environment_is_left_alone() {
        let vars = [("PORCHLIGHT_TEST_SERVERS", "/x"), ("PORCHLIGHT_STORE__NODES", "1"), ("HTTP__LISTEN", "y")];
        assert!(load::<Config>(DEFAULTS, None, env(&vars)).is_ok());
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_one_line_with_its_source_and_key() {
        let line = refusal(None, &[("PORCHLIGHT_HTTP__MAX_BODY_BYTES", "many")]);
        assert!(line.starts_with("PORCHLIGHT_HTTP__MAX_BODY_BYTES: http.max_body_bytes: invalid type"), "{line}");
        let f = file("[http\n");
        assert!(!refusal(Some(f.path()), &[]).contains('\n'));
        assert!(refusal(Some(Path::new("/nowhere.toml")), &[]).starts_with("/nowhere.toml: "));
    }
}
