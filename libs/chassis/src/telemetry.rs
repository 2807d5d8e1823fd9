//! Structured logs.

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::{
    EnvFilter, Registry,
    fmt::{FmtContext, FormatEvent, FormatFields, format, format::Writer},
    layer::SubscriberExt as _,
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

use crate::config::{ConfigError, LogConfig};

/// Installs the subscriber of this process (logs to stderr), with the service's name on every line, and a panic hook
/// that logs instead of printing. Once per process.
///
/// # Errors
/// A bad filter or format, or a second call.
pub fn init(service: &'static str, config: &LogConfig) -> Result<(), ConfigError> {
    let filter =
        config.filter.parse::<EnvFilter>().map_err(|e| ConfigError(format!("log.filter: {}: {e}", config.filter)))?;
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let registry = Registry::default().with(filter);
    let installed = match config.format.as_str() {
        "json" => {
            let inner = format().json().flatten_event(true).with_span_list(false);
            registry.with(layer.json().event_format(Named { service, json: true, inner })).try_init()
        }
        "text" => registry.with(layer.event_format(Named { service, json: false, inner: format() })).try_init(),
        other => return Err(ConfigError(format!("log.format: {other}: json or text"))),
    };
    installed.map_err(|e| ConfigError(format!("log: {e}")))?;
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, why = panic.payload_as_str().unwrap_or("no text"), "panic");
    }));
    Ok(())
}

/// Puts the service's name on each line of another format.
struct Named<F> {
    service: &'static str,
    json: bool,
    inner: F,
}

impl<S, N, F> FormatEvent<S, N> for Named<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = String::with_capacity(256);
        self.inner.format_event(ctx, Writer::new(&mut line), event)?;
        match line.strip_prefix('{') {
            Some(rest) if self.json => write!(writer, "{{\"service\":\"{}\",{rest}", self.service),
            Some(_) | None => write!(writer, "{} {line}", self.service),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_json_line_names_its_service_and_keeps_its_fields() {
        let lines = Lines::default();
        let writer = lines.clone();
        let inner = format().json().flatten_event(true).with_span_list(false);
        let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone()).json().event_format(Named {
            service: "ingest",
            json: true,
            inner,
        });
        tracing::subscriber::with_default(Registry::default().with(layer), || {
            tracing::info!(event_id = "e1", "event accepted");
        });
        let line: serde_json::Value = serde_json::from_slice(&lines.0.lock().unwrap()).unwrap();
        assert_eq!(line["service"], "ingest");
        assert_eq!(line["event_id"], "e1");
        assert_eq!(line["message"], "event accepted");
    }

    #[test]
    fn a_bad_format_or_filter_names_its_key() {
        let refusal = |format: &str, filter: &str| {
            init("x", &LogConfig { format: format.into(), filter: filter.into() }).unwrap_err().to_string()
        };
        assert_eq!(refusal("xml", "info"), "log.format: xml: json or text");
        assert!(refusal("json", "a=b=c").starts_with("log.filter: a=b=c"));
    }
}
