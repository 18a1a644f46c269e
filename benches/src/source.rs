//! The kinds of data that can be generated: measurement, tags and fields of each. Pure. Knows no rows and no encoding.

use meridian_env::Rng;

/// The measurement of [`Source::Cpu`].
pub(crate) const CPU: &str = "cpu";

/// Where rows come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub(crate) enum Source {
    /// TSBS devops "cpu-only": hosts with ten tags, integers from 0 to 100
    #[default]
    Cpu,
    /// TSBS IoT "readings": trucks with eight tags, their places with five decimals, the rest with one or none
    Iot,
    /// Stations of a smart city with six tags: temperature, humidity, pressure and vibration with two decimals
    Sensors,
}

/// One field: a value that walks at random.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    /// The decimals of a float; an integer has none.
    pub(crate) decimals: Option<u32>,
    /// Least value, greatest value, and what one coin moves it by, in units of the last decimal.
    pub(crate) walk: [i64; 3],
}

/// Tags in the order in which they are written.
pub(crate) type Tags = Vec<(&'static str, String)>;

const CPU_FIELDS: [Field; 10] = [
    percent("usage_user"),
    percent("usage_system"),
    percent("usage_idle"),
    percent("usage_nice"),
    percent("usage_iowait"),
    percent("usage_irq"),
    percent("usage_softirq"),
    percent("usage_steal"),
    percent("usage_guest"),
    percent("usage_guest_nice"),
];
const IOT_FIELDS: [Field; 7] = [
    float("latitude", 5, [-9_000_000, 9_000_000, 40]),
    float("longitude", 5, [-18_000_000, 18_000_000, 40]),
    float("elevation", 0, [0, 5_000, 1]),
    float("velocity", 0, [0, 100, 1]),
    float("heading", 0, [0, 360, 1]),
    float("grade", 0, [0, 100, 1]),
    float("fuel_consumption", 1, [0, 500, 1]),
];
const SENSOR_FIELDS: [Field; 4] = [
    float("temperature", 2, [-2_000, 4_500, 3]),
    float("humidity", 2, [0, 10_000, 10]),
    float("pressure", 2, [95_000, 105_000, 5]),
    float("vibration", 2, [0, 1_000, 4]),
];

const fn percent(name: &'static str) -> Field {
    Field { name, decimals: None, walk: [0, 100, 1] }
}

const fn float(name: &'static str, decimals: u32, walk: [i64; 3]) -> Field {
    Field { name, decimals: Some(decimals), walk }
}

const REGIONS: [&str; 9] = [
    "us-east-1",
    "us-west-1",
    "us-west-2",
    "eu-west-1",
    "eu-central-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-northeast-1",
    "sa-east-1",
];
const ZONES: [&str; 3] = ["a", "b", "c"];
const SYSTEMS: [&str; 3] = ["Ubuntu15.10", "Ubuntu16.10", "Ubuntu16.04LTS"];
const ARCHES: [&str; 2] = ["x64", "x86"];
const TEAMS: [&str; 4] = ["SF", "NYC", "LON", "CHI"];
const ENVIRONMENTS: [&str; 3] = ["production", "staging", "test"];
const FLEETS: [&str; 4] = ["East", "West", "North", "South"];
const DRIVERS: [&str; 6] = ["Derek", "Rodney", "Albert", "Andy", "Seth", "Trish"];
const MODELS: [&str; 3] = ["F-150", "G-2000", "H-2"];
const CITIES: [&str; 6] = ["Aarhus", "Barcelona", "Chicago", "Santander", "Seoul", "Singapore"];
const VENDORS: [&str; 4] = ["Axon", "Brightleaf", "Cairn", "Delta"];

impl Source {
    /// What a reader of figures is told.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Cpu => "TSBS cpu-only",
            Self::Iot => "TSBS IoT readings",
            Self::Sensors => "sensors of a city",
        }
    }

    pub(crate) fn measurement(self) -> &'static str {
        match self {
            Self::Cpu => CPU,
            Self::Iot => "readings",
            Self::Sensors => "sensors",
        }
    }

    fn fields(self) -> &'static [Field] {
        match self {
            Self::Cpu => &CPU_FIELDS,
            Self::Iot => &IOT_FIELDS,
            Self::Sensors => &SENSOR_FIELDS,
        }
    }

    /// The field of this number. Behind the last they begin again, under names of their own.
    pub(crate) fn field(self, number: usize) -> &'static Field {
        &self.fields()[number % self.fields().len()]
    }

    /// What the field of this number is called.
    pub(crate) fn field_name(self, number: usize) -> String {
        let name = self.field(number).name;
        if number < self.fields().len() { name.to_owned() } else { format!("{name}_{number}") }
    }

    /// The tags of the series of this number.
    pub(crate) fn tags(self, number: u32, rng: &Rng) -> Tags {
        let pick = |from: &[&'static str]| from[rng.below(from.len() as u64) as usize];
        match self {
            Self::Cpu => {
                let region = pick(&REGIONS);
                vec![
                    ("hostname", format!("host_{number}")),
                    ("region", region.to_owned()),
                    ("datacenter", format!("{region}{}", pick(&ZONES))),
                    ("rack", rng.below(100).to_string()),
                    ("os", pick(&SYSTEMS).to_owned()),
                    ("arch", pick(&ARCHES).to_owned()),
                    ("team", pick(&TEAMS).to_owned()),
                    ("service", rng.below(20).to_string()),
                    ("service_version", rng.below(2).to_string()),
                    ("service_environment", pick(&ENVIRONMENTS).to_owned()),
                ]
            }
            Self::Iot => vec![
                ("name", format!("truck_{number}")),
                ("fleet", pick(&FLEETS).to_owned()),
                ("driver", pick(&DRIVERS).to_owned()),
                ("model", pick(&MODELS).to_owned()),
                ("device_version", format!("v{}.{}", 1 + rng.below(2), rng.below(4))),
                ("load_capacity", (1_500 + 500 * rng.below(8)).to_string()),
                ("fuel_capacity", (150 + 50 * rng.below(4)).to_string()),
                ("nominal_fuel_consumption", (12 + rng.below(8)).to_string()),
            ],
            Self::Sensors => {
                let city = pick(&CITIES);
                vec![
                    ("station", format!("station_{number}")),
                    ("city", city.to_owned()),
                    ("district", format!("{city}-{}", rng.below(12))),
                    ("street", rng.below(400).to_string()),
                    ("vendor", pick(&VENDORS).to_owned()),
                    ("firmware", format!("{}.{}", 1 + rng.below(3), rng.below(10))),
                ]
            }
        }
    }
}

impl Field {
    /// The value of so many units of its last decimal, if it is a float.
    pub(crate) fn float(&self, units: i64) -> Option<f64> {
        // Both are exact, so that the quotient is the float nearest to the decimal, as a parser gives it.
        Some(units as f64 / self.scale()?)
    }

    /// The units of a float that [`Self::float`] gave.
    pub(crate) fn units(&self, float: f64) -> i64 {
        (float * self.scale().unwrap_or(1.0)).round() as i64
    }

    fn scale(&self) -> Option<f64> {
        Some(10_f64.powi(self.decimals?.cast_signed()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn field_names_are_distinct() {
        for source in [Source::Cpu, Source::Iot, Source::Sensors] {
            let names: Vec<_> = (0..40).map(|number| source.field_name(number)).collect();
            assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), 40, "{names:?}");
        }
        assert_eq!(
            (Source::Cpu.field_name(0), Source::Sensors.field_name(5)),
            ("usage_user".into(), "humidity_5".into())
        );
    }

    #[test]
    fn floats_are_those_that_their_decimals_are_read_as() {
        for units in [0, -7, 4_499, 104_999, 1_234_567] {
            let [two, five] = [Source::Sensors.field(0), Source::Iot.field(0)].map(|field| field.float(units));
            assert_eq!(two, format!("{units}e-2").parse().ok());
            assert_eq!(five, format!("{units}e-5").parse().ok());
            assert_eq!(five.map(|float| Source::Iot.field(0).units(float)), Some(units));
        }
        assert_eq!(Source::Cpu.field(3).float(7), None);
    }
}
