// The look of a transcript. It imports nothing: exports and the page share it.

/** Letters of a hash that a transcript shows. */
const SHORT_HASH = 12;

/** The head of a conversation. */
export interface TranscribedConversation {
  readonly id: string;
  readonly configId: string;
  readonly subject: string | null;
  readonly members: readonly { readonly email: string; readonly hasLeft: boolean }[];
}

/** The row of a message. */
export interface TranscribedMessage {
  readonly seq: number;
  /** Time in UTC (ISO 8601), as all times here. */
  readonly sentAt: string;
  readonly sender: string;
  readonly text: string;
  /** Earlier texts, oldest first. */
  readonly revisions: readonly { readonly text: string; readonly at: string }[];
  readonly editedAt: string | null;
  readonly redaction: { readonly at: string; readonly by: string; readonly reason: string } | null;
  /** The leaf hash of the newest entry in hex; null where it is not known. */
  readonly hash: string | null;
  /** The tlog-proof of that entry, to show it; null while there is none; absent where proofs are files. */
  readonly proof?: string | null;
}

const HEAD = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Transcript</title>
<style>
:root { color-scheme: light dark }
body { font: 14px/1.4 system-ui, sans-serif; margin: 2em }
h2, p, .text, .note { overflow-wrap: anywhere }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: 4px 8px; border-bottom: 1px solid #888 }
td:nth-child(3) { overflow-wrap: anywhere }
.text, .note { white-space: pre-wrap; unicode-bidi: plaintext }
.note { font-style: italic }
td:nth-child(5), pre { font-family: ui-monospace, monospace }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 12px }
tr { break-inside: avoid }
@media screen and (max-width: 40em) {
  body { margin: 1em }
  table, tbody, tr, td { display: block }
  thead { display: none }
  tr { padding: 6px 0; border-bottom: 1px solid #888 }
  td { border: 0; padding: 1px 0 }
  td:nth-child(-n + 3) { display: inline-block; padding-right: 8px }
}
@media print {
  :root { color-scheme: only light }
  body { margin: 0; color: #000; background: #fff }
}
</style>
</head>
<body>
<main>
`;

const COLUMNS = ['No.', 'Time', 'Author', 'Text', 'Hash'].map((name) => `<th scope="col">${name}</th>`).join('');

const ESCAPES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };

/** Text as HTML. */
export const escaped = (text: string): string => text.replace(/[&<>"]/g, (letter) => ESCAPES[letter] ?? letter);

/** Text as HTML, in a direction of its own, which does not affect what stands beside it. */
const isolated = (text: string) => `<bdi>${escaped(text)}</bdi>`;

/** The beginning of a transcript: a page of HTML that needs no other file and has no script. */
export function transcriptStart(notes: readonly string[]): string {
  return `${HEAD}<h1>Transcript</h1>\n${notes.map((note) => `<p>${escaped(note)}</p>\n`).join('')}`;
}

/** The beginning of a conversation in a transcript. */
export function conversationStart({ id, configId, subject, members }: TranscribedConversation): string {
  const emails = members.map(({ email, hasLeft }) => isolated(email) + (hasLeft ? ' (left)' : ''));
  return `<h2>${isolated(configId)}${subject === null ? '' : `: ${isolated(subject)}`}</h2>
<p>${escaped(id)}<br>Members: ${emails.join(', ')}</p>
<table>
<thead><tr>${COLUMNS}</tr></thead>
<tbody>
`;
}

/** The row of a message, with its earlier texts. */
export function transcriptRow(message: TranscribedMessage): string {
  const { seq, sentAt, sender, text, revisions, editedAt, redaction, hash, proof } = message;
  const notes = [
    ...revisions.map(({ text, at }) => `until ${at}: ${isolated(text)}`),
    ...(editedAt !== null && redaction === null ? [`edited ${editedAt}`] : []),
    ...(redaction === null
      ? []
      : [`redacted ${redaction.at} by ${escaped(redaction.by)}: ${isolated(redaction.reason)}`]),
  ];
  const said = [
    ...(text === '' ? [] : [`<div class="text" dir="auto">${escaped(text)}</div>`]),
    ...notes.map((note) => `<div class="note">[${note}]</div>`),
    ...(proof ? [`<details><summary>Proof of No. ${seq}</summary><pre>${escaped(proof)}</pre></details>`] : []),
  ].join('');
  const cells = [
    seq,
    sentAt,
    escaped(sender),
    said,
    hash?.slice(0, SHORT_HASH) ?? (proof === null ? 'Not signed yet' : ''),
  ];
  return `<tr>${cells.map((cell) => `<td>${cell}</td>`).join('')}</tr>\n`;
}

/** The end of a conversation in a transcript. */
export const CONVERSATION_END = '</tbody>\n</table>\n';
/** The end of a transcript. */
export const TRANSCRIPT_END = '</main>\n</body>\n</html>\n';
