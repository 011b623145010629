//! `evalkit devices`: lists devices and whether a runner answers on them;
//! `evalkit devices install` installs the runner on a phone.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};

use super::args::FormatArgs;
use super::help;
use super::output::print;
use super::reporter::Reporter;
use crate::device::client::{Limits, Options, Runner, Target, Token, TokenStore};
use crate::device::devicectl::{self, BUNDLE_ID, InstallOrder, Phone, Tool, merged};
use crate::device::protocol::result::Description;
use crate::device::table::devices as table;
use crate::device::transport::usbmux::phones;
use crate::error::{Error, Exit, Result};
use crate::report::{Column, Document, Table, Unit, Value};

/// How long a launched app may take to answer.
const LAUNCH_PATIENCE: Duration = Duration::from_secs(60);

/// Arguments of `evalkit devices`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_long_help = help::after(
        &["evalkit devices", "evalkit devices --device usb --timeout 30"],
        &[help::DEVICE_NAMES],
    )
)]
pub struct DevicesArgs {
    #[command(subcommand)]
    command: Option<DevicesCommand>,
    /// Show only these [default: all]
    ///
    /// Separated by commas: host, usb, usb:<udid>, tcp:HOST:PORT, all.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    device: Vec<Target>,
    #[command(flatten)]
    reach: ReachArgs,
    #[command(flatten)]
    format: FormatArgs,
}

/// How runners are reached.
#[derive(Debug, Args)]
struct ReachArgs {
    /// Access token that the runner was started with
    ///
    /// 32 hexadecimal digits. The default is the one that evalkit devices install saved, or else
    /// EVALKIT_RUNNER_TOKEN.
    #[arg(long, value_name = "TOKEN")]
    token: Option<Token>,
    /// Longest wait for a runner to answer
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    timeout: u64,
}

#[derive(Debug, Subcommand)]
enum DevicesCommand {
    /// Build the runner, install it on a phone and start it (needs a Mac with Xcode)
    Install(InstallArgs),
}

/// Arguments of `evalkit devices install`.
#[derive(Debug, Args)]
#[command(after_long_help = help::after(
    &[
        "evalkit devices install --team ABCDE12345",
        "evalkit devices install --team ABCDE12345 --bundle-id com.me.runner --without-entitlements",
    ],
    &[],
))]
struct InstallArgs {
    /// The phone: usb, usb:<udid> or its UDID [default: the only attached one]
    #[arg(long, value_name = "PHONE", value_parser = Target::phone)]
    device: Option<Target>,
    /// Team that signs the app: ten letters and digits
    ///
    /// Xcode shows it under Settings, Accounts.
    #[arg(long, value_name = "TEAM", value_parser = devicectl::team)]
    team: Option<String>,
    /// Bundle identifier of the app
    ///
    /// A personal (free) team needs one of its own, such as com.me.runner.
    #[arg(long, value_name = "ID", default_value = BUNDLE_ID, value_parser = devicectl::bundle_id)]
    bundle_id: String,
    /// Sign without the memory entitlements
    ///
    /// Personal teams do not get them. Packages may then use less memory.
    #[arg(long)]
    without_entitlements: bool,
    /// Root of evalkit's sources
    #[arg(long, value_name = "DIR", default_value = ".")]
    sources: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// Surroundings errors: a device that is named and not there. One that is named and does not answer is a row
/// like others, but the exit code is that of the surroundings.
pub fn run(args: &DevicesArgs, reporter: &Reporter) -> Result<Exit> {
    match &args.command {
        Some(DevicesCommand::Install(install)) => self::install(install, reporter),
        None => list(args),
    }
}

/// The phones that were found, and warnings about tools that could not be asked.
#[derive(Default)]
struct Seen {
    phones: Vec<Phone>,
    warnings: Vec<String>,
    /// Apple's tools, if they could be asked.
    tool: Option<Tool>,
}

fn list(args: &DevicesArgs) -> Result<Exit> {
    let all = [Target::All];
    let wanted = if args.device.is_empty() { &all[..] } else { &args.device };
    let wants_phones = wanted.iter().any(|one| matches!(one, Target::Usb(_) | Target::All));
    let is_named = wanted.iter().any(|one| matches!(one, Target::Usb(_)));
    let mut seen = if wants_phones { see(is_named)? } else { Seen::default() };
    let udids: Vec<String> = seen.phones.iter().map(|phone| phone.udid.clone()).collect();
    let mut targets = Vec::new();
    let mut named = Vec::new();
    for target in wanted {
        for one in target.expand(&udids)? {
            if *target != Target::All {
                named.push(one.clone());
            }
            if !targets.contains(&one) {
                targets.push(one);
            }
        }
    }
    let patience = Duration::from_secs(args.reach.timeout.clamp(1, 600));
    let limits =
        Limits { handshake: patience, silence: patience, request: patience, ..Limits::default() };
    let options = Options {
        token: args.reach.token.clone(),
        fallback_token: Token::of_environment()?,
        limits,
        ..Options::default()
    };
    let mut table = Table { title: "Devices".into(), columns: columns(), ..Table::default() };
    let mut silent = Vec::new();
    for target in &targets {
        let row = row(target, &seen.phones, &options);
        // A narrow terminal drops the last column, which matters most: repeat it as a warning.
        if let Some(Value::Text(why_not)) = row.last() {
            seen.warnings.push(format!("{target} does not answer: {why_not}"));
            silent.push(target);
        }
        table.rows.push(row);
    }
    if silent.iter().any(|target| matches!(target, Target::Usb(_))) {
        seen.warnings.extend(seen.tool.as_ref().and_then(no_installation));
    }
    let is_named_silent = silent.iter().any(|target| named.contains(target));
    let document = Document {
        title: "Devices".into(),
        tables: vec![table],
        warnings: seen.warnings,
        notes: vec![
            "Chip and memory are what the runner reports; without an answer, those of the device table.".into(),
        ],
        ..Document::default()
    };
    print(args.format.format, &document)?;
    Ok(if is_named_silent { Exit::Surroundings } else { Exit::Done })
}

/// Asks usbmuxd, and devicectl where there is `xcrun`. A missing usbmuxd is only a warning unless a phone is named.
fn see(is_named: bool) -> Result<Seen> {
    let mut warnings = Vec::new();
    let attached = phones().or_else(|error| match error.exit() {
        Exit::Surroundings if !is_named => {
            warnings.push(format!("no phones: {}", error.one_line()));
            Ok(Vec::new())
        }
        _ => Err(error),
    })?;
    let (tool, listed) = match Tool::of_system().map(|tool| (tool.list(), tool)) {
        Some((Ok(listed), tool)) => (Some(tool), listed),
        Some((Err(error), _)) => {
            warnings.push(error.one_line());
            (None, Vec::new())
        }
        None => (None, Vec::new()),
    };
    Ok(Seen { phones: merged(&attached, &listed), warnings, tool })
}

/// Why the runner cannot be installed with these tools, such as an old Xcode; `None` if it can.
fn no_installation(tool: &Tool) -> Option<String> {
    let error = devicectl::require_xcode(tool).err()?;
    Some(format!("this Mac cannot install the runner: {}", error.one_line()))
}

fn columns() -> Vec<Column> {
    vec![
        Column::text("target", "device"),
        Column::text("name", "name").rank(2),
        Column::text("model", "model"),
        Column::text("chip", "chip"),
        Column::number("memory", "memory", Unit::Bytes),
        Column::text("os", "system"),
        Column::number("stored", "stored packages", Unit::Bytes),
        Column::text("runner", "runner"),
        Column::text("why_not", "why not, and what to do").rank(3),
    ]
}

fn row(target: &Target, phones: &[Phone], options: &Options) -> Vec<Value> {
    let phone = match target {
        Target::Usb(Some(udid)) => phones.iter().find(|phone| phone.udid == *udid),
        _ => None,
    };
    let asked = match phone {
        Some(phone) if !phone.is_attached => {
            let known = phone.listed.as_ref().and_then(devicectl::ListedDevice::device_error);
            Err(known.unwrap_or(devicectl::DeviceError::NotConnected).into_error())
        }
        _ => describe(target, options).map_err(|error| explained(phone, error)),
    };
    let listed = phone.and_then(|phone| phone.listed.as_ref());
    let described = asked.as_ref().ok().map(|(found, _)| found);
    let stored = asked.as_ref().ok().and_then(|(_, stored)| *stored);
    let identifier = described
        .map(|found| found.device.model_identifier.clone())
        .or_else(|| listed.and_then(|listed| listed.product_type.clone()));
    let known = identifier.as_deref().and_then(|identifier| table().by_identifier(identifier));
    let text = |text: Option<String>| text.map_or(Value::Empty, Value::from);
    let device = described.map(|found| &found.device);
    let name = device.and_then(|device| device.name.clone());
    let model = known.map(|known| format!("{} ({})", known.name, known.identifier));
    let chip = device.and_then(|device| device.chip.clone());
    let os = device.map(|device| device.os.clone());
    let os_listed = || {
        let listed = listed?;
        Some(format!("{} {}", listed.platform.as_deref().unwrap_or("iOS"), listed.os.as_ref()?))
    };
    vec![
        Value::from(target.to_string()),
        text(name.or_else(|| listed.and_then(|listed| listed.name.clone()))),
        text(model.or(identifier).or_else(|| (*target == Target::Host).then(this_machine))),
        text(chip.or_else(|| known.map(|known| known.chip.clone()))),
        device
            .and_then(|device| device.memory_bytes)
            .or_else(|| known?.memory_bytes())
            .map_or(Value::Empty, Value::from),
        text(os.or_else(os_listed)),
        stored.map_or(Value::Empty, Value::from),
        match described {
            Some(found) if found.simulated => Value::from(format!("{}, simulated", found.runner)),
            Some(found) => Value::from(format!("{}, {}", found.runner, found.engine)),
            None => Value::from("no answer"),
        },
        match &asked {
            Ok(_) => Value::Empty,
            Err(error) => {
                // The row names the device already.
                let why_not = error.one_line();
                let place = format!("{target}: ");
                Value::from(why_not.strip_prefix(&place).unwrap_or(&why_not))
            }
        },
    ]
}

fn this_machine() -> String {
    format!("this machine ({} {})", std::env::consts::OS, std::env::consts::ARCH)
}

/// What a runner says of itself, and the bytes of the packages in its store; `None` while it is busy.
fn describe(target: &Target, options: &Options) -> Result<(Description, Option<u64>)> {
    let mut runner = Runner::connect(target, options)?;
    runner.limits_mut().reconnect = Duration::ZERO;
    let found = runner.describe()?.finished()?.value;
    let stored = runner.list()?.finished().ok().map(|listing| listing.value.size_bytes());
    Ok((found, stored))
}

/// The error as devicectl explains it, if it can: that says more than a refused connection.
fn explained(phone: Option<&Phone>, error: Error) -> Error {
    let known = phone.and_then(|phone| phone.listed.as_ref()?.device_error());
    if let Some(known) = known {
        return known.into_error();
    }
    let locked = || Tool::of_system()?.is_locked(&phone?.udid).ok().flatten();
    if locked() == Some(true) { devicectl::DeviceError::Locked.into_error() } else { error }
}

/// The phones among which `--device` chooses. devicectl remembers every phone that it ever saw: without
/// `--device`, those that cannot be reached do not count beside those that can.
fn installable(phones: &[Phone], args: &InstallArgs) -> Vec<String> {
    let is_away = |phone: &Phone| {
        let tunnel = phone.listed.as_ref().and_then(|listed| listed.tunnel.as_deref());
        tunnel == Some("unavailable")
    };
    let is_named = matches!(args.device, Some(Target::Usb(Some(_))));
    let is_wanted = |phone: &&Phone| is_named || !is_away(phone);
    let mut chosen: Vec<&Phone> = phones.iter().filter(is_wanted).collect();
    if chosen.is_empty() {
        chosen = phones.iter().collect();
    }
    chosen.into_iter().map(|phone| phone.udid.clone()).collect()
}

fn install(args: &InstallArgs, reporter: &Reporter) -> Result<Exit> {
    let Some(tool) = Tool::of_system() else {
        return Err(Error::surroundings("installing the runner needs a Mac: Apple's xcodebuild and \
             devicectl build, sign and install it")
        .hint(
            "on a Mac with Xcode, a signed-in account, and the phone attached, trusted, unlocked and \
             in Developer Mode, run this command in evalkit's sources; then measure from either \
             machine",
        ));
    };
    devicectl::require_xcode(&tool)?;
    let phones = merged(&[], &tool.list()?);
    let wanted = args.device.clone().unwrap_or(Target::Usb(None));
    let Some(Target::Usb(Some(udid))) =
        wanted.expand(&installable(&phones, args))?.into_iter().next()
    else {
        return Err(Error::bug("the target usb did not expand to a phone"));
    };
    let listed = phones.iter().find(|phone| phone.udid == udid).and_then(|p| p.listed.as_ref());
    if let Some(error) = listed.and_then(devicectl::ListedDevice::device_error) {
        return Err(error.into_error());
    }
    let order = InstallOrder {
        udid: udid.clone(),
        team: args.team.clone(),
        bundle_id: args.bundle_id.clone(),
        is_entitled: !args.without_entitlements,
        project: args.sources.join(devicectl::PROJECT),
        derived: std::env::temp_dir().join("evalkit-runner-build"),
    };
    let token = Token::random();
    devicectl::install(&tool, &order, &token, &mut |step| reporter.say(format!("{step} ...")))?;
    let tokens = TokenStore::of_user()
        .ok_or_else(|| Error::surroundings("no folder to keep the token in: HOME is not set"))?;
    tokens.keep(&udid, &token, &args.bundle_id)?;
    reporter.say("waiting for the runner to answer ...");
    let options = Options { token: Some(token), ..Options::default() };
    let target = Target::Usb(Some(udid));
    let until = Instant::now() + LAUNCH_PATIENCE;
    loop {
        match describe(&target, &options) {
            Ok((found, _)) => {
                reporter.say(format!("{target}: {} answers on {}", found.runner, found.device.os));
                return Ok(Exit::Done);
            }
            Err(error) if Instant::now() >= until => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_secs(1)),
        }
    }
}
