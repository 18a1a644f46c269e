//! What this process logs, and how. Always to stderr: data has stdout.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::GLOBAL;
use crate::failure::CliError;

/// What the command line says of the log.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LogArgs {
    /// What to log to stderr, such as `info` or `meridian_client=debug`
    #[arg(long, global = true, help_heading = GLOBAL, env = "RUST_LOG", hide_env_values = true, value_name = "FILTER")]
    log: Option<String>,
    /// How to log: lines for people, or one JSON object a line
    #[arg(
        long,
        global = true,
        help_heading = GLOBAL,
        env = "MERIDIAN_LOG_FORMAT",
        hide_env_values = true,
        value_name = "FORMAT",
        default_value = "text"
    )]
    log_format: Format,
}

/// How events are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Format {
    /// Lines for people
    Text,
    /// One JSON object a line, its spans in it
    Json,
}

impl LogArgs {
    /// The same, with `filter` where nobody has said what to log.
    pub(crate) fn or(self, filter: &str) -> Self {
        Self { log: Some(self.log.unwrap_or_else(|| filter.to_owned())), ..self }
    }

    /// The arguments that make another process of this binary log alike.
    pub(crate) fn arguments(&self) -> impl Iterator<Item = String> {
        let format = self.log_format.to_possible_value().expect("no format is hidden");
        let filter = self.log.iter().map(|filter| format!("--log={filter}"));
        filter.chain([format!("--log-format={}", format.get_name())])
    }

    /// Logs from now on.
    pub(crate) fn start(&self) -> Result<(), CliError> {
        let filter = self.log.as_deref().unwrap_or_default();
        let filter = EnvFilter::try_new(filter).map_err(|error| {
            let hint = "use a level, or targets with levels: --log info";
            CliError::usage(format!("log filter {filter:?}: {error}"), hint)
        })?;
        let colours = std::io::stderr().is_terminal();
        let started =
            tracing::subscriber::set_global_default(subscriber(self.log_format, filter, colours, std::io::stderr));
        started.expect("the log is started once");
        Ok(())
    }
}

fn subscriber<W>(format: Format, filter: EnvFilter, colours: bool, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    match format {
        Format::Text => Box::new(lines.with_ansi(colours).finish()),
        Format::Json => Box::new(lines.json().flatten_event(true).with_current_span(false).finish()),
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use parking_lot::Mutex;
    use serde_json::Value;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: Format) -> String {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = subscriber(format, EnvFilter::new("info"), false, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("write", database = "db");
            span.in_scope(|| tracing::info!(why = "two\nlines", "refused"));
            tracing::debug!("not asked for");
        });
        let bytes = written.0.lock().clone();
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn json_is_one_object_a_line_with_the_spans_in_it() {
        let text = logged(Format::Json);
        assert_eq!(text.lines().count(), 1, "{text}");
        let event: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(
            (&event["level"], &event["message"], &event["why"]),
            (&"INFO".into(), &"refused".into(), &"two\nlines".into())
        );
        assert_eq!((&event["spans"][0]["name"], &event["spans"][0]["database"]), (&"write".into(), &"db".into()));
    }

    #[test]
    fn text_names_the_spans_before_the_event() {
        let text = logged(Format::Text);
        assert!(text.contains("INFO write{database=\"db\"}") && text.contains("refused"), "{text}");
    }
}
