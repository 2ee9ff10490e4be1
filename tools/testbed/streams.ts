/** Small helpers for byte streams. */

/** All of a stream as text; RangeError beyond `limit` bytes. */
export async function collect(
  stream: ReadableStream<Uint8Array>,
  limit: number,
): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  let size = 0;
  for await (const chunk of stream) {
    size += chunk.length;
    if (size > limit) {
      throw new RangeError(`more than ${limit} bytes of output`);
    }
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}
