/** PostgreSQL's and the kernel's words within a line of ours. */

/** The text with blanks for its line breaks. */
export function oneLine(text: string): string {
  return text.replace(/[\r\n]+/g, " ");
}
