//! Dates of the Gregorian calendar.

const SECONDS_PER_DAY: i64 = 86_400;
/// The days of 400 years, after which leap years repeat; of 100 years, of four years, and of one.
const DAYS: [i64; 4] = [146_097, 36_524, 1_461, 365];
/// The days from the first of March of the year 0 to the start of 1970.
const DAYS_TO_1970: i64 = 719_468;

/// Returns the UTC time of a number of seconds since 1970, as in `2009-02-13T23:31:30`.
pub(super) fn format(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(SECONDS_PER_DAY), seconds.rem_euclid(SECONDS_PER_DAY));
    // Years start in March, so that the leap day is the last one.
    let days = days + DAYS_TO_1970;
    let (cycle, day) = (days.div_euclid(DAYS[0]), days.rem_euclid(DAYS[0]));
    let year = (day - day / (DAYS[2] - 1) + day / DAYS[1] - day / (DAYS[0] - 1)) / DAYS[3];
    let day = day - (year * DAYS[3] + year / 4 - year / 100);
    // Five months, from March or August, have 153 days.
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = cycle * 400 + year + next;
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{:02}", second % 60)
}

#[cfg(test)]
mod tests {
    use super::format;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(format(0), "1970-01-01T00:00:00");
        assert_eq!(format(951_782_400), "2000-02-29T00:00:00");
        assert_eq!(format(1_234_567_890), "2009-02-13T23:31:30");
        assert_eq!(format(4_107_542_399), "2100-02-28T23:59:59");
        assert_eq!(format(4_107_542_400), "2100-03-01T00:00:00");
        assert_eq!(format(253_402_300_799), "9999-12-31T23:59:59");
    }
}
