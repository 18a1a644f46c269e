//! The settings of the processes that serve. One definition gives the keys of a file, the variables, the flags, their help,
//! and docs/config.md. Of the places that name a setting the last one decides: file, then environment, then command line.
//! All mistakes are told at once, each with its place. Pure: whatever is read is handed in.

mod parse; // text into values
#[cfg(test)]
mod reference; // docs/config.md is current

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::failure::CliError;

pub(crate) use parse::{address, addresses, bytes, listens, path, span, switch, text};

/// The prefix of all variables.
const PREFIX: &str = "MERIDIAN_";
/// Variables that are for something else: for commands that ask, and for those who work on Meridian.
const OTHER_VARIABLES: [&str; 3] = ["MERIDIAN_SERVER", "MERIDIAN_BIN", "MERIDIAN_BLESS"];
const OTHER_PREFIX: &str = "MERIDIAN_TEST_";

/// What a value looks like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shape {
    /// One value, shown as this.
    One(&'static str),
    /// Several, each shown as this, with commas between them or named again.
    Many(&'static str),
    /// `true` or `false`; the flag alone means `true`.
    Switch,
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    /// Its name in a file. The flag has `-` for `_`, the variable is in capitals behind the prefix.
    pub(crate) key: &'static str,
    pub(crate) shape: Shape,
    /// What holds where nothing is said; `None` if something must be.
    pub(crate) default: Option<&'static str>,
    pub(crate) help: &'static str,
}

impl Setting {
    pub(crate) fn flag(&self) -> String {
        self.key.replace('_', "-")
    }

    pub(crate) fn variable(&self) -> String {
        format!("{PREFIX}{}", self.key.to_uppercase())
    }
}

/// A process that has settings.
pub(crate) trait Program {
    /// The command that starts it.
    const NAME: &'static str;
    /// What it does, in one line.
    const ABOUT: &'static str;
    /// How to start it.
    const EXAMPLES: &'static str;
    /// All that can be set.
    const SETTINGS: &'static [Setting];
}

/// All programs' settings by name.
fn all_settings() -> impl Iterator<Item = &'static Setting> {
    crate::node::Node::SETTINGS.iter().chain(crate::router::Router::SETTINGS)
}

/// What the command line says.
#[derive(Clone, Debug)]
pub(crate) struct Args<P> {
    /// The file to read.
    pub(crate) config: Option<PathBuf>,
    flags: BTreeMap<&'static str, String>,
    program: PhantomData<fn() -> P>,
}

impl<P: Program> clap::Args for Args<P> {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new("config").long("config").value_name("FILE").value_parser(clap::value_parser!(PathBuf));
        let file = file.help("TOML file with any of these settings; variables and flags come before it");
        let mut command = command.about(P::ABOUT).after_help(P::EXAMPLES).arg(file);
        for setting in P::SETTINGS {
            let default = setting.default.filter(|default| !default.is_empty());
            let default = default.map_or_else(String::new, |default| format!(" [default: {default}]"));
            let help = format!("{}{default} [env: {}]", setting.help, setting.variable());
            let arg = Arg::new(setting.key).long(setting.flag()).help(help);
            command = command.arg(match setting.shape {
                Shape::One(value) => arg.value_name(value),
                Shape::Many(value) => arg.value_name(value).action(ArgAction::Append),
                Shape::Switch => {
                    arg.value_name("BOOL").num_args(0..=1).require_equals(true).default_missing_value("true")
                }
            });
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<P: Program> clap::FromArgMatches for Args<P> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |setting: &'static Setting| {
            let texts: Vec<_> = matches.get_many::<String>(setting.key)?.map(String::as_str).collect();
            Some((setting.key, texts.join(",")))
        };
        let config = matches.get_one::<PathBuf>("config").cloned();
        Ok(Self { config, flags: P::SETTINGS.iter().filter_map(given).collect(), program: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Where a value comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Place {
    Key(PathBuf, &'static str),
    Variable(String),
    Flag(String),
    Default,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(file, key) => write!(f, "key `{key}` in {}", file.display()),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::Flag(flag) => write!(f, "flag --{flag}"),
            Self::Default => f.write_str("the default"),
        }
    }
}

/// All settings of a program, and what is wrong with them so far.
#[derive(Debug)]
pub(crate) struct Values {
    given: BTreeMap<&'static str, (Place, String)>,
    mistakes: Vec<String>,
    program: &'static str,
}

impl Values {
    /// Brings together what the file, the environment and the command line say.
    pub(crate) fn read<P: Program>(
        args: &Args<P>,
        file: Option<(&Path, &str)>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let mut values = Self { given: BTreeMap::new(), mistakes: Vec::new(), program: P::NAME };
        for setting in P::SETTINGS {
            if let Some(default) = setting.default {
                values.given.insert(setting.key, (Place::Default, default.to_owned()));
            }
        }
        if let Some((path, text)) = file {
            values.read_file(P::SETTINGS, path, text);
        }
        for (name, value) in variables {
            if let Some(setting) = P::SETTINGS.iter().find(|setting| setting.variable() == name) {
                values.given.insert(setting.key, (Place::Variable(name), value));
            } else if name.starts_with(PREFIX) && !is_known_variable(&name) {
                values.mistakes.push(format!("variable {name}: no such setting"));
            }
        }
        for setting in P::SETTINGS {
            if let Some(value) = args.flags.get(setting.key) {
                values.given.insert(setting.key, (Place::Flag(setting.flag()), value.clone()));
            } else if !values.given.contains_key(setting.key) {
                let (flag, variable, key) = (setting.flag(), setting.variable(), setting.key);
                values.mistakes.push(format!("--{flag} is missing: say it, or {variable}, or `{key}` in a file"));
            }
        }
        values
    }

    fn read_file(&mut self, settings: &'static [Setting], path: &Path, text: &str) {
        let table: toml::Table = match text.parse() {
            Ok(table) => table,
            Err(error) => return self.mistakes.push(format!("{}: {error}", path.display())),
        };
        for (key, value) in table {
            let Some(setting) = settings.iter().find(|setting| setting.key == key) else {
                self.mistakes.push(format!("key `{key}` in {}: no such setting", path.display()));
                continue;
            };
            let place = Place::Key(path.to_owned(), setting.key);
            match plain(&value) {
                Some(text) => drop(self.given.insert(setting.key, (place, text))),
                None => self.mistakes.push(format!("{place}: use a string, a number, a bool or a list of strings")),
            }
        }
    }

    /// The value of a setting. One that cannot be read is noted, and stands for nothing.
    pub(crate) fn take<T: Default>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, String>) -> T {
        let Some((place, text)) = self.given.get(key) else { return T::default() };
        parse(text).unwrap_or_else(|why| {
            self.mistakes.push(format!("{place}: {text:?}: {why}"));
            T::default()
        })
    }

    /// An address to listen at, which other machines must not reach unless that is allowed.
    pub(crate) fn take_listen(&mut self, key: &str, anywhere: bool) -> String {
        let address = self.take(key, address);
        if !address.is_empty()
            && let Err(why) = listens(&address, anywhere)
        {
            self.refuse(key, &why);
        }
        address
    }

    /// Notes that a setting that can be read cannot be.
    pub(crate) fn refuse(&mut self, key: &str, why: &str) {
        let place = self.given.get(key).map_or_else(|| format!("`{key}`"), |(place, _)| place.to_string());
        self.mistakes.push(format!("{place}: {why}"));
    }

    /// Everything that is wrong, if anything is.
    pub(crate) fn finish(self) -> Result<(), CliError> {
        if self.mistakes.is_empty() {
            return Ok(());
        }
        let message = match &self.mistakes[..] {
            [one] => one.clone(),
            several => format!("{} settings are wrong:\n  {}", several.len(), several.join("\n  ")),
        };
        Err(CliError::usage(message, format!("meridian {} --help, or docs/config.md", self.program)))
    }
}

fn is_known_variable(name: &str) -> bool {
    let is_other = OTHER_VARIABLES.contains(&name) || name.starts_with(OTHER_PREFIX);
    // Nodes and routers of one machine may share their environment.
    is_other || all_settings().any(|setting| setting.variable() == name)
}

/// A value as it would stand on the command line.
fn plain(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(is) => Some(is.to_string()),
        toml::Value::Array(all) => {
            all.iter().map(|one| one.as_str()).collect::<Option<Vec<_>>>().map(|texts| texts.join(","))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
