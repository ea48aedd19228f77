// The browser's newest links on the first page, with their clicks as they come.

const EVERY_MS = 2000

export async function start(section, page) {
  const none = section.querySelector("[data-none]")
  let known = ""

  async function show() {
    if (!page.key) {
      none.hidden = false
      return
    }
    const reply = await page.ask("api/links?limit=5")
    if (!reply.ok) return
    const { items } = await reply.json()
    const codes = items.map((link) => `${link.short_code} ${link.disabled} ${link.title}`).join()
    none.hidden = items.length > 0
    if (codes !== known) {
      const list = await page.fragment("fragments/newest", { key: page.key })
      section.querySelector("[data-place]").replaceChildren(list)
      known = codes
    }
    for (const link of items) {
      const clicks = section.querySelector(`[data-code="${link.short_code}"] [data-clicks]`)
      if (clicks) clicks.textContent = page.clicks(link.total_clicks)
    }
  }

  // Nobody is asked while nobody looks; a town that is away for a moment is asked again.
  while (!page.left.aborted && section.isConnected) {
    try {
      if (!document.hidden) await show()
    } catch {
      // asked again below
    }
    await new Promise((done) => setTimeout(done, EVERY_MS))
  }
}
