/** Text for people: messages stay on one line, or a log is unreadable at three in the morning. */

const maxLength = 500

/** What others wrote, on one line and not without end. */
export const oneLine = (text: string): string => {
  const line = text.replace(/\s+/g, " ").trim()
  return line.length > maxLength ? `${line.slice(0, maxLength)}…` : line
}
