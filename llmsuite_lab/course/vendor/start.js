document.querySelectorAll(".tex").forEach((element) => {
  katex.render(element.textContent, element, { displayMode: element.dataset.display === "1", throwOnError: true });
});
Reveal.initialize({
  width: 1280, height: 720, margin: 0.02, center: false, hash: true, slideNumber: "c/t",
  transition: "none", pdfSeparateFragments: false, plugins: [RevealNotes],
});
