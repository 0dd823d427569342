# SPDX-License-Identifier: Apache-2.0
"""Samples, their summary, and the tables that are printed."""
import statistics


class Series:
    """The samples of one quantity of one subject."""

    def __init__(self, unit):
        self.unit = unit
        self.samples = []

    def add(self, value):
        if value is not None:
            self.samples.append(value)

    @property
    def median(self):
        return statistics.median(self.samples) if self.samples else None

    def as_dict(self):
        if not self.samples:
            return {"unit": self.unit, "samples": []}
        return {"unit": self.unit, "min": min(self.samples), "median": self.median,
                "max": max(self.samples), "samples": self.samples}

    def text(self):
        """'median (min to max)'; without the bracket when all samples agree."""
        if not self.samples:
            return "-"
        low, high = number(min(self.samples)), number(max(self.samples))
        return number(self.median) + (f" ({low} to {high})" if low != high else "")


def number(value):
    """Three or four significant digits, no exponent."""
    if isinstance(value, int) or value == int(value) and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 20 else f"{value:.2f}"


class Table:
    """Rows are subjects, columns are quantities, cells are Series; the first row is mote's."""

    def __init__(self, title, columns):
        self.title = title
        self.columns = columns  # name -> unit
        self.rows = {}
        self.notes = []

    def row(self, subject):
        return self.rows.setdefault(subject, {c: Series(u) for c, u in self.columns.items()})

    def add(self, subject, **values):
        for name, value in values.items():
            self.row(subject)[name].add(value)

    def ratios(self):
        """(subject, {column: median of mote / median of subject}) for each peer."""
        names = list(self.rows)
        for peer in names[1:]:
            found = {}
            for column in self.columns:
                own, other = self.rows[names[0]][column].median, self.rows[peer][column].median
                if own is not None and other:
                    found[column] = own / other
            if found:
                yield peer, found

    def text(self):
        head = [""] + [f"{c.replace('_', ' ')} [{u}]" if u else c.replace("_", " ")
                       for c, u in self.columns.items()]
        lines = [head] + [[s] + [series.text() for series in cells.values()]
                          for s, cells in self.rows.items()]
        own = next(iter(self.rows), "")
        for peer, found in self.ratios():
            lines.append([f"{own} / {peer}"] +
                         [number(found[c]) if c in found else "-" for c in self.columns])
        width = [max(len(line[i]) for line in lines) for i in range(len(head))]
        out = [self.title]
        for line in lines:
            out.append("  " + "  ".join([line[0].ljust(width[0])] + [
                cell.rjust(w) for cell, w in zip(line[1:], width[1:])]).rstrip())
        return "\n".join(out + ["  " + note for note in self.notes])

    def as_dict(self):
        return {"title": self.title, "notes": self.notes,
                "subjects": {s: {c: series.as_dict() for c, series in cells.items()}
                             for s, cells in self.rows.items()},
                "ratios": dict(self.ratios())}
