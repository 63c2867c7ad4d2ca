/**
 * Metrics as text, in the formats that Prometheus reads: its own (0.0.4) and OpenMetrics 1.0. Pure.
 *
 * A library's registry does not fit: it counts itself, and what is told here was counted by the workers, with histograms
 * among it that no registry lets be set.
 *
 * OpenMetrics knows a counter by its name without `_total`. Upstream has gauges of exactly such names beside counters
 * (`pools_bytes` and `pools_bytes_total`), which would be one family told twice: those counters are of type `unknown`
 * there, and keep their names.
 */

/** Labels as they are written, by name: `a="1",b="2"`. Made by `label`, and once for all series that have them. */
export type Labels = string;

/** One label as it is written. */
export function label(name: string, value: string): Labels {
  return `${name}="${escapeLabel(value)}"`;
}

/** A series of one value. */
export interface Point {
  labels: Labels;
  value: number;
}

/** A series of a histogram. `counts` has one more than there are bounds, each of what is above the bound before it. */
export interface HistogramPoint {
  labels: Labels;
  counts: readonly number[];
  sum: number;
}

interface Described {
  /** As Prometheus stores it. */
  name: string;
  help: string;
}

/** All series of one name. */
export type Family =
  & Described
  & (
    | { type: "counter" | "gauge"; points: readonly Point[] }
    | { type: "histogram"; bounds: readonly number[]; points: readonly HistogramPoint[] }
  );

export type Format = "text" | "openmetrics";

/** What each format is called in HTTP. */
export const CONTENT_TYPES: Readonly<Record<Format, string>> = {
  text: "text/plain; version=0.0.4; charset=utf-8",
  openmetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8",
};

const TOTAL = "_total";

/** The families by name; one without series is left out. */
export function expose(families: readonly Family[], format: Format): string {
  const gauges = new Set(families.flatMap(({ type, name }) => type === "gauge" ? [name] : []));
  const lines: string[] = [];
  const told = families.filter(({ points }) => points.length > 0);
  for (const family of told.sort((a, b) => a.name < b.name ? -1 : 1)) {
    const { name, help } = family;
    const { called, type } = format === "text"
      ? { called: name, type: family.type }
      : openMetricsHead(family, gauges);
    lines.push(`# HELP ${called} ${escapeHelp(help, format)}`, `# TYPE ${called} ${type}`);
    if (family.type === "histogram") exposeHistogram(lines, family, format);
    else {
      for (const { labels, value } of family.points) {
        lines.push(`${name}${inBraces(labels)} ${number(value)}`);
      }
    }
  }
  if (format === "openmetrics") lines.push("# EOF");
  return `${lines.join("\n")}\n`;
}

function openMetricsHead(
  { type, name }: Family,
  gauges: ReadonlySet<string>,
): { called: string; type: string } {
  if (type !== "counter") return { called: name, type };
  const stem = name.endsWith(TOTAL) ? name.slice(0, -TOTAL.length) : undefined;
  if (stem === undefined || gauges.has(stem)) return { called: name, type: "unknown" };
  return { called: stem, type };
}

function exposeHistogram(
  lines: string[],
  { name, bounds, points }: Family & { type: "histogram" },
  format: Format,
): void {
  const les = [...bounds.map((bound) => canonical(bound, format)), "+Inf"];
  for (const { labels, counts, sum } of points) {
    const before = labels === "" ? "" : `${labels},`;
    let count = 0;
    les.forEach((le, i) => {
      count += counts[i] ?? 0;
      lines.push(`${name}_bucket{${before}le="${le}"} ${number(count)}`);
    });
    lines.push(`${name}_sum${inBraces(labels)} ${number(sum)}`);
    lines.push(`${name}_count${inBraces(labels)} ${number(count)}`);
  }
}

/** OpenMetrics wants to see that it is no integer. */
function canonical(bound: number, format: Format): string {
  return format === "openmetrics" && Number.isInteger(bound) ? `${bound}.0` : String(bound);
}

function number(value: number): string {
  if (value === Infinity) return "+Inf";
  if (value === -Infinity) return "-Inf";
  return Number.isNaN(value) ? "NaN" : String(value);
}

function inBraces(labels: string): string {
  return labels === "" ? "" : `{${labels}}`;
}

function escapeLabel(value: string): string {
  if (!/["\\\n]/.test(value)) return value;
  return value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}

function escapeHelp(help: string, format: Format): string {
  const escaped = help.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
  return format === "openmetrics" ? escaped.replaceAll('"', '\\"') : escaped;
}

/** The format that an Accept header asks for; what says nothing of it gets Prometheus's own. */
export function formatFor(accept: string | null): Format {
  let text = 0;
  let openmetrics = 0;
  for (const item of (accept ?? "").toLowerCase().split(",").slice(0, 50)) {
    const [type = "", ...parameters] = item.split(";").map((part) => part.trim());
    const q = quality(parameters);
    if (type === "application/openmetrics-text") {
      const version = parameters.find((parameter) => parameter.startsWith("version="));
      if (version === undefined || version === "version=1.0.0") {
        openmetrics = Math.max(openmetrics, q);
      }
    } else if (type === "text/plain") text = Math.max(text, q);
  }
  return openmetrics > 0 && openmetrics >= text ? "openmetrics" : "text";
}

/** Whether an Accept-Encoding header takes gzip. */
export function takesGzip(acceptEncoding: string | null): boolean {
  return (acceptEncoding ?? "").toLowerCase().split(",").slice(0, 50).some((item) => {
    const [coding, ...parameters] = item.split(";").map((part) => part.trim());
    return coding === "gzip" && quality(parameters) > 0;
  });
}

function quality(parameters: readonly string[]): number {
  const q = parameters.find((parameter) => parameter.startsWith("q="));
  if (q === undefined) return 1;
  const value = Number(q.slice(2));
  return value >= 0 && value <= 1 ? value : 0;
}
